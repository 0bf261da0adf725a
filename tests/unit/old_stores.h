/* Stores that older programs made (tests/stores). */
#ifndef BASCULE_TESTS_OLD_STORES_H
#define BASCULE_TESTS_OLD_STORES_H

#define OLD_STORES 2
#define OLD_STORES_NEXT_SEQ 321 /* of route "orders" in each */

/* Puts the i-th (0…OLD_STORES-1), of version i + 1, in the place of RIG_STORE. */
void old_stores_put(int i);

#endif
