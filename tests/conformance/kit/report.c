/* What came out: for people, as TAP 14, as JUnit's XML. */
#include "kit.h"

#include <errno.h>
#include <stdlib.h>

struct kit_report {
    enum kit_format format;
    const char *conf;
    FILE *out;
    bool people; /* the report goes to a file: say how it goes on standard output */
    size_t count, passed, failed, skipped;
    double seconds;
    char *text; /* JUnit's cases, whose totals stand before them */
    size_t text_len;
    FILE *body;
};

struct kit_report *kit_report_open(const struct kit_options *options, size_t count,
                                   struct mako_error *err)
{
    struct kit_report *report = calloc(1, sizeof *report);

    if (!report) {
        (void)mako_fail(err, MAKO_E_NOMEM, "no memory");
        return NULL;
    }
    report->format = options->format;
    report->conf = options->conf;
    report->count = count;
    report->people = options->output != NULL;
    report->out = options->output ? fopen(options->output, "we") : stdout;
    if (report->format == KIT_JUNIT)
        report->body = open_memstream(&report->text, &report->text_len);
    if (!report->out || (report->format == KIT_JUNIT && !report->body)) {
        (void)mako_fail(err, MAKO_E_IO, "%s: %s", options->output ? options->output : "-",
                        strerror(errno));
        free(report);
        return NULL;
    }
    if (report->format == KIT_TAP)
        (void)fprintf(report->out, "TAP version 14\n1..%zu\n", count);
    return report;
}

/* Text with each line indented. */
static void put_lines(FILE *out, const char *indent, const char *text)
{
    while (*text) {
        size_t len = strcspn(text, "\n");

        (void)fprintf(out, "%s%.*s\n", indent, (int)len, text);
        text += len + (text[len] == '\n');
    }
}

/* Bytes of the UTF-8 sequence at text that YAML and XML 1.0 can hold; 0: none. */
static size_t printable(const unsigned char *text)
{
    static const unsigned char least[] = {0, 0, 0xc2, 0xe0, 0xf0};
    size_t len = text[0] < 0x80 ? 1 : text[0] < 0xe0 ? 2 : text[0] < 0xf0 ? 3 : 4;

    if (len == 1)
        return text[0] >= 0x20 && text[0] != 0x7f ? 1 : 0;
    if (text[0] < least[len] || text[0] > 0xf4)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    if ((text[0] == 0xe0 && text[1] < 0xa0) || (text[0] == 0xed && text[1] > 0x9f) ||
        (text[0] == 0xf0 && text[1] < 0x90) || (text[0] == 0xf4 && text[1] > 0x8f) ||
        (text[0] == 0xef && text[1] == 0xbf && text[2] >= 0xbe))
        return 0;
    return len;
}

/* ---- people ----------------------------------------------------------------------- */

static void put_human(FILE *out, const char *name, const struct kit_result *result)
{
    static const char *const words[] = {"ok  ", "FAIL", "skip"};

    (void)fprintf(out, "%s  %s%s%s%s\n", words[result->verdict], name,
                  result->verdict == SKIP ? "  (" : "",
                  result->verdict == SKIP ? result->message : "",
                  result->verdict == SKIP ? ")" : "");
    if (result->verdict == FAIL) {
        put_lines(out, "      ", result->message);
        if (result->output)
            put_lines(out, "      | ", result->output);
    }
    (void)fflush(out);
}

/* ---- TAP -------------------------------------------------------------------------- */

/* A description may not hold '#', which would begin a directive. */
static void put_tap_text(FILE *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '#' || *text == '\\')
            (void)fputc('\\', out);
        (void)fputc(*text == '\n' ? ' ' : *text, out);
    }
}

/* A YAML string in double quotes. */
static void put_quoted(FILE *out, const char *text)
{
    (void)fputc('"', out);
    while (*text) {
        size_t len = printable((const unsigned char *)text);

        if (*text == '"' || *text == '\\')
            (void)fprintf(out, "\\%c", *text);
        else if (*text == '\n')
            (void)fputs("\\n", out);
        else if (len == 0)
            (void)fprintf(out, "\\x%02x", (unsigned)(unsigned char)*text);
        else
            (void)fwrite(text, 1, len, out);
        text += len ? len : 1;
    }
    (void)fputc('"', out);
}

static void put_tap(struct kit_report *report, const char *name,
                    const struct kit_result *result)
{
    size_t number = report->passed + report->failed + report->skipped;

    (void)fprintf(report->out, "%sok %zu - ", result->verdict == FAIL ? "not " : "",
                  number);
    put_tap_text(report->out, name);
    if (result->verdict == SKIP) {
        (void)fputs(" # SKIP ", report->out);
        put_tap_text(report->out, result->message);
    }
    (void)fputc('\n', report->out);
    if (result->verdict == FAIL) {
        (void)fputs("  ---\n  message: ", report->out);
        put_quoted(report->out, result->message);
        (void)fprintf(report->out, "\n  severity: fail\n  duration_ms: %.0f\n",
                      result->seconds * 1e3);
        if (result->output) {
            (void)fputs("  output: ", report->out);
            put_quoted(report->out, result->output);
            (void)fputc('\n', report->out);
        }
        (void)fputs("  ...\n", report->out);
    }
    (void)fflush(report->out);
}

/* ---- JUnit ------------------------------------------------------------------------ */

static void put_xml(FILE *out, const char *text)
{
    static const struct {
        char letter;
        const char *entity;
    } entities[] = {{'<', "&lt;"},   {'>', "&gt;"},  {'&', "&amp;"}, {'"', "&quot;"},
                    {'\n', "&#10;"}, {'\t', "&#9;"}, {'\r', "&#13;"}};

    while (*text) {
        size_t len = printable((const unsigned char *)text), i = 0;

        while (i < sizeof entities / sizeof entities[0] && entities[i].letter != *text)
            i++;
        if (i < sizeof entities / sizeof entities[0])
            (void)fputs(entities[i].entity, out);
        else if (len == 0)
            (void)fprintf(out, "\\x%02x", (unsigned)(unsigned char)*text);
        else
            (void)fwrite(text, 1, len, out);
        text += len ? len : 1;
    }
}

static void put_element(FILE *out, const char *element, const char *message)
{
    (void)fprintf(out, "    <%s message=\"", element);
    put_xml(out, message);
    (void)fputs("\"/>\n", out);
}

static void put_junit(FILE *out, const struct kit_case *c,
                      const struct kit_result *result)
{
    (void)fprintf(out, "  <testcase classname=\"mako.%s\" name=\"%s\" time=\"%.3f\">\n",
                  c->level, c->test->name, result->seconds);
    if (result->verdict == FAIL)
        put_element(out, "failure", result->message);
    else if (result->verdict == SKIP)
        put_element(out, "skipped", result->message);
    if (result->output && result->verdict == FAIL) {
        (void)fputs("    <system-out>", out);
        put_xml(out, result->output);
        (void)fputs("</system-out>\n", out);
    }
    (void)fputs("  </testcase>\n", out);
}

static void close_junit(struct kit_report *report)
{
    (void)fclose(report->body);
    (void)fprintf(report->out,
                  "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite "
                  "name=\"mako-conformance\" tests=\"%zu\" failures=\"%zu\" "
                  "errors=\"0\" skipped=\"%zu\" time=\"%.3f\">\n"
                  "  <properties><property name=\"configuration\" value=\"",
                  report->passed + report->failed + report->skipped, report->failed,
                  report->skipped, report->seconds);
    put_xml(report->out, report->conf);
    (void)fputs("\"/></properties>\n", report->out);
    (void)fwrite(report->text, 1, report->text_len, report->out);
    (void)fputs("</testsuite>\n", report->out);
    free(report->text);
}

/* ---- all of them ------------------------------------------------------------------ */

void kit_report_add(struct kit_report *report, const struct kit_case *c,
                    const struct kit_result *result)
{
    char name[200];

    kit_case_name(c, name, sizeof name);
    report->passed += result->verdict == PASS;
    report->failed += result->verdict == FAIL;
    report->skipped += result->verdict == SKIP;
    report->seconds += result->seconds;
    if (report->format == KIT_HUMAN)
        put_human(report->out, name, result);
    else if (report->format == KIT_TAP)
        put_tap(report, name, result);
    else
        put_junit(report->body, c, result);
    if (report->people)
        put_human(stdout, name, result);
}

bool kit_report_close(struct kit_report *report)
{
    bool bad = report->failed > 0 ||
               report->passed + report->failed + report->skipped != report->count;
    FILE *people = report->people ? stdout : report->out;

    if (report->format == KIT_JUNIT)
        close_junit(report);
    if (report->format == KIT_HUMAN || report->people)
        (void)fprintf(people, "%zu passed, %zu failed, %zu skipped\n", report->passed,
                      report->failed, report->skipped);
    if (report->format == KIT_HUMAN && report->people)
        (void)fprintf(report->out, "%zu passed, %zu failed, %zu skipped\n",
                      report->passed, report->failed, report->skipped);
    if (fflush(report->out) != 0 || ferror(report->out)) {
        (void)fprintf(stderr, "mako-conformance: the report cannot be written: %s\n",
                      strerror(errno));
        bad = true;
    }
    if (report->people)
        (void)fclose(report->out);
    free(report);
    return bad;
}
