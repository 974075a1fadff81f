/* tests/threads/complaints.h - what threads find wrong: counted, and the first ones said.
 * Whether a program has failed is for its main to ask. */
#ifndef MAKO_TESTS_COMPLAINTS_H
#define MAKO_TESTS_COMPLAINTS_H

__attribute__((format(printf, 1, 2))) void complain(const char *format, ...);
unsigned complaints(void);
/* From now on errors of the library's log are complaints.  Warnings are usual: that noop
 * keeps nothing. */
void complain_of_log_errors(void);

#endif
