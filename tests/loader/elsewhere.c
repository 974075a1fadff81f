/* tests/loader/elsewhere.c - what the plugin missing_dependency depends on, and does not
 * find when it is loaded. */
int mako_test_elsewhere(void);

int mako_test_elsewhere(void)
{
    return 0;
}
