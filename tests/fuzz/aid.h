/* What several fuzzers share. */
#ifndef BASCULE_FUZZ_AID_H
#define BASCULE_FUZZ_AID_H

/* Enters a new directory below TMPDIR; tests/fuzz/run removes it. */
void aid_enter_directory(void);

#endif
