/* jsonget - for the shell tests: one member of the JSON document on standard input.
 *
 * jsonget [KEY|INDEX|#]...: goes down; "#" is the number of members.  A string is printed
 * as it is, anything else compact with sorted keys.  Exit status 1: not there; 2: the
 * input is not one JSON document. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *down(json_t *at, const char *key)
{
    if (json_is_array(at))
        return json_array_get(at, strtoul(key, NULL, 10));
    return json_object_get(at, key);
}

static int print_size(const json_t *at)
{
    printf("%zu\n", json_is_array(at) ? json_array_size(at) : json_object_size(at));
    return 0;
}

static int print(const json_t *at)
{
    char *text;

    if (json_is_string(at)) {
        printf("%s\n", json_string_value(at));
        return 0;
    }
    text = json_dumps(at, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
    printf("%s\n", text ? text : "?");
    free(text);
    return 0;
}

int main(int argc, char **argv)
{
    json_error_t error;
    json_t *root = json_loadf(stdin, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &error);
    json_t *at = root;
    int result = 1;

    if (!root) {
        fprintf(stderr, "jsonget: line %d: %s\n", error.line, error.text);
        return 2;
    }
    for (int i = 1; i < argc && at && strcmp(argv[i], "#") != 0; i++)
        at = down(at, argv[i]);
    if (at)
        result =
            argc > 1 && strcmp(argv[argc - 1], "#") == 0 ? print_size(at) : print(at);
    json_decref(root);
    return result;
}
