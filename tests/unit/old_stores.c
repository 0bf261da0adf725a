#include "tests/unit/old_stores.h"

#include "tests/unit/store_rig.h"

#include <unistd.h>
#include <zstd.h>

#define STORE_FILE(symbol, file)                                                                   \
    __asm__(".section .rodata\n"                                                                   \
            ".global " #symbol ", " #symbol "_end\n" #symbol ":\n"                                 \
            ".incbin \"tests/stores/" file "\"\n" #symbol "_end:\n"                                \
            ".previous\n");                                                                        \
    extern const uint8_t symbol[], symbol##_end[];

STORE_FILE(old_stores_1, "version-1.db.zst")
STORE_FILE(old_stores_2, "version-2.db.zst")

static const struct {
    const uint8_t *at, *end;
} stores[OLD_STORES] = { { old_stores_1, old_stores_1_end }, { old_stores_2, old_stores_2_end } };

void old_stores_put(int i)
{
    size_t packed = (size_t)(stores[i].end - stores[i].at);
    size_t n = (size_t)ZSTD_getFrameContentSize(stores[i].at, packed);
    uint8_t *bytes = malloc(n);
    FILE *f = fopen(RIG_STORE, "wb");

    CHECK(bytes && f && ZSTD_decompress(bytes, n, stores[i].at, packed) == n);
    CHECK(fwrite(bytes, 1, n, f) == n);
    CHECK_INT(fclose(f), 0);
    free(bytes);
    (void)unlink(RIG_STORE "-wal");
    (void)unlink(RIG_STORE "-shm");
}
