#include "routes/problem.h"
#include "routes/yaml.h"
#include "tests/harness.h"

static int code_of(const char *text, size_t n)
{
    struct config_problems p = { 0 };
    struct yaml_file *f = yaml_file_open_text("f.yaml", text, n, &p);
    int code = p.n ? p.at[0].code : 0;

    yaml_file_free(f);
    config_problems_done(&p);
    return code;
}

TEST(yaml_rubbish_is_refused_with_its_reason)
{
    static char deep[10001], big[2 << 20];

    memset(deep, '[', sizeof deep - 1);
    memset(big, 'a', sizeof big);
    CHECK_INT(code_of(deep, sizeof deep - 1), PROBLEM_DEPTH);
    CHECK_INT(code_of(big, sizeof big), PROBLEM_FILE_SIZE);
    CHECK_INT(code_of("a: &x [1]\nb: *x\n", 16), PROBLEM_ALIAS);
    CHECK_INT(code_of("a: \0", 4), PROBLEM_ENCODING);
    CHECK_INT(code_of("a: \xc0\x80", 5), PROBLEM_ENCODING);
    CHECK_INT(code_of("a: \xed\xa0\x80", 6), PROBLEM_ENCODING);
    CHECK_INT(code_of("a: \"\\0\"", 7), PROBLEM_ENCODING);
    CHECK_INT(code_of("a: 1\na: 2\n", 10), PROBLEM_DUPLICATE_KEY);
    CHECK_INT(code_of("a: 1\n---\nb: 1\n", 14), PROBLEM_SYNTAX);
    CHECK_INT(code_of("[a, b", 5), PROBLEM_SYNTAX);
    CHECK_INT(code_of("{ [a]: b }", 10), PROBLEM_SHAPE);
    CHECK_INT(code_of("a: { b: [1, \xc3\xa4] }\n", 17), 0);
}
