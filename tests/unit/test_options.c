#include "routes/options.h"
#include "tests/harness.h"

TEST(option_values_carry_units)
{
    int64_t v = 0;

    CHECK_INT(options_duration("1h30m", &v), 0);
    CHECK_INT(v, 5400000);
    CHECK_INT(options_duration("10", &v), -1);
    CHECK_INT(options_duration("", &v), -1);
    CHECK_INT(options_duration("99999999999999999999s", &v), -1);
    CHECK_INT(options_size("64KiB", &v), 0);
    CHECK_INT(v, 65536);
    CHECK_INT(options_size("512", &v), 0);
    CHECK_INT(options_size("1 MB", &v), -1);
    CHECK_INT(options_size("9999999999TiB", &v), -1);
    CHECK_INT(options_rate("30/m", &v), 0);
    CHECK_INT(v, 500);
    CHECK_INT(options_rate("5", &v), -1);
}
