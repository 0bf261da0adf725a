/* https://github.com/nats-io/nkeys: base32 without padding of a prefix, 32 bytes of Ed25519 and a
 * CRC-16 (XMODEM), low byte first. A seed has a prefix of two bytes: "seed" and what it is for. */
#include "bridge/links/nats/nkey.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define KEY_BYTES 32
#define SEED_BYTES (2 + KEY_BYTES + 2)
#define SEED_CHARS 58
#define PUBLIC_BYTES (1 + KEY_BYTES + 2)
#define PUBLIC_CHARS 56
#define PREFIX_SEED (18u << 3)
#define PREFIX_USER (20u << 3)

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

static uint16_t crc16(const uint8_t *at, size_t n)
{
    unsigned crc = 0;

    for (size_t i = 0; i < n; i++) {
        crc ^= (unsigned)at[i] << 8;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 0x8000u ? (crc << 1 ^ 0x1021u) & 0xffffu : crc << 1 & 0xffffu;
    }
    return (uint16_t)crc;
}

static int decode(const char *text, size_t n, uint8_t *ret, size_t bytes)
{
    uint32_t bits = 0;
    unsigned count = 0;
    size_t at = 0;

    for (size_t i = 0; i < n; i++) {
        const char *digit = text[i] ? strchr(alphabet, text[i]) : NULL;
        if (!digit)
            return -1;
        bits = (bits << 5 | (uint32_t)(digit - alphabet)) & 0xffffu;
        count += 5;
        if (count >= 8) {
            count -= 8;
            if (at == bytes)
                return -1;
            ret[at++] = (uint8_t)(bits >> count);
        }
    }
    return at == bytes ? 0 : -1;
}

static void encode(const uint8_t *from, size_t n, char *ret)
{
    uint32_t bits = 0;
    unsigned count = 0;

    for (size_t i = 0; i < n; i++) {
        bits = (bits << 8 | from[i]) & 0xffffu;
        count += 8;
        while (count >= 5) {
            count -= 5;
            *ret++ = alphabet[bits >> count & 31u];
        }
    }
    if (count)
        *ret++ = alphabet[bits << (5 - count) & 31u];
    *ret = 0;
}

static int derive(const uint8_t *seed, uint8_t *ret)
{
    size_t n = KEY_BYTES;
    EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, KEY_BYTES);
    int ok = key && EVP_PKEY_get_raw_public_key(key, ret, &n) == 1 && n == KEY_BYTES;

    EVP_PKEY_free(key);
    return ok ? 0 : -1;
}

int nkey_public_of(const char *seed, char *ret, size_t n, struct fault *why)
{
    uint8_t raw[SEED_BYTES], public[PUBLIC_BYTES] = { PREFIX_USER };
    uint16_t crc = 0;
    int failed = n <= PUBLIC_CHARS || strspn(seed, alphabet) < SEED_CHARS ||
                 decode(seed, SEED_CHARS, raw, sizeof raw) != 0;

    if (!failed) {
        unsigned purpose = ((raw[0] & 7u) << 5 | (raw[1] & 0xf8u) >> 3) & 0xffu;
        crc = crc16(raw, SEED_BYTES - 2);
        failed = (raw[0] & 0xf8u) != PREFIX_SEED || purpose != PREFIX_USER ||
                 (crc & 0xffu) != raw[SEED_BYTES - 2] || crc >> 8 != raw[SEED_BYTES - 1] ||
                 derive(raw + 2, public + 1) != 0;
    }
    OPENSSL_cleanse(raw, sizeof raw);
    if (failed)
        return fault_set(why, FAULT_INPUT, 0, "no seed of a user's NKey");
    crc = crc16(public, PUBLIC_BYTES - 2);
    public[PUBLIC_BYTES - 2] = (uint8_t)(crc & 0xffu);
    public[PUBLIC_BYTES - 1] = (uint8_t)(crc >> 8);
    encode(public, PUBLIC_BYTES, ret);
    return 0;
}

int nkey_public(const char *seed_file, char *ret, size_t n, struct fault *why)
{
    char line[256];
    int found = -1;
    FILE *f = fopen(seed_file, "re");

    if (!f)
        return fault_set(why, FAULT_INPUT, 0, "nkey_seed %s cannot be read", seed_file);
    while (found != 0 && fgets(line, sizeof line, f))
        if (strncmp(line, "SU", 2) == 0)
            found = nkey_public_of(line, ret, n, NULL);
    OPENSSL_cleanse(line, sizeof line);
    (void)fclose(f);
    if (found != 0)
        return fault_set(why, FAULT_INPUT, 0, "nkey_seed %s holds no seed of a user", seed_file);
    return 0;
}
