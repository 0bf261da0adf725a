"""NKeys and JWTs for a private nats-server: what the tools `nk` and `nsc` make, which Debian does not have."""
import base64
import hashlib
import json
import struct
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

# Prefix bytes of github.com/nats-io/nkeys: the first letter of the text.
SEED, OPERATOR, ACCOUNT, USER = 18 << 3, 14 << 3, 0, 20 << 3
RAW = {"encoding": serialization.Encoding.Raw}


def crc16(data):
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xffff
    return crc


def base32(data):
    return base64.b32encode(data + struct.pack("<H", crc16(data))).decode().rstrip("=")


def base64url(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class Key:
    """An Ed25519 key pair with the texts that NATS gives it."""

    def __init__(self, kind, raw):
        self.private = Ed25519PrivateKey.from_private_bytes(raw)
        public = self.private.public_key().public_bytes(format=serialization.PublicFormat.Raw, **RAW)
        self.public = base32(bytes([kind]) + public)
        self.seed = base32(bytes([SEED | kind >> 5, (kind & 31) << 3]) + raw)

    def sign(self, data):
        return self.private.sign(data)


def from_seed(seed):
    raw = base64.b32decode(seed + "=" * (-len(seed) % 8))
    return Key((raw[0] & 7) << 5 | raw[1] >> 3, raw[2:34])


def jwt(issuer, subject, name, nats):
    """Signed by the issuer, without an end."""
    claims = {"iss": issuer.public, "sub": subject.public, "name": name, "iat": 1, "jti": name,
              "nats": {**nats, "version": 2}}
    text = ".".join(base64url(json.dumps(part).encode())
                    for part in ({"typ": "JWT", "alg": "ed25519-nkey"}, claims))
    return f"{text}.{base64url(issuer.sign(text.encode()))}"


def limits(**more):
    return {"subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": True,
            "conn": -1, "leaf": -1, **more}


class Keys:
    """One user's seed file, and a creds file that an operator's account signed. Made from the directory's
    name, so that a restarted broker has them again."""

    def __init__(self, directory):
        self.seed_file, self.creds_file = Path(directory) / "nkey.seed", Path(directory) / "user.creds"

        def key(kind, name):
            return Key(kind, hashlib.sha256(f"{directory}/{name}".encode()).digest())
        user = key(USER, "nkey")
        self.nkey = user.public
        self.seed_file.write_text(user.seed + "\n")
        self.operator = key(OPERATOR, "operator")
        self.account, self.system = key(ACCOUNT, "account"), key(ACCOUNT, "system")
        self.system_account = self.system.public
        self.operator_jwt = jwt(self.operator, self.operator, "operator", {
            "type": "operator", "system_account": self.system.public})
        with_creds = key(USER, "creds")
        user_jwt = jwt(self.account, with_creds, "user", {
            "type": "user", "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1})
        self.creds_file.write_text(
            f"-----BEGIN NATS USER JWT-----\n{user_jwt}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{with_creds.seed}\n------END USER NKEY SEED------\n")
        for f in (self.seed_file, self.creds_file):
            f.chmod(0o644)  # test keys: brokers run as other users

    def accounts(self):
        storage = {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}
        return {self.account.public: jwt(self.operator, self.account, "account", {
                    "type": "account", "limits": limits(**storage)}),
                self.system.public: jwt(self.operator, self.system, "system", {
                    "type": "account", "limits": limits()})}
