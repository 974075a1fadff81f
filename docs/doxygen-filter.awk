# doxygen-filter.awk - shows Doxygen the plain comments of the public headers as its own.
# A comment belongs to the declaration behind it and, in the first column, to those that
# follow without an empty line; behind code it belongs to what stands before it.  Members
# that share a line are taken apart.  Rules ("---- opening ----") are left out.

# The words of a comment that begins with text, to its end.
function words(text,   more) {
    while (text !~ /\*\// && (getline more) > 0) {
        if (more !~ /^[ \t]*\*\//)
            sub(/^[ \t]*\* ?/, "", more)
        text = text "\n" more
    }
    sub(/^[ \t]*\/\*[ \t]*/, "", text)
    sub(/[ \t\n]*\*\/[ \t]*$/, "", text)
    gsub(/\\/, "\\\\", text) # what Doxygen would take for a command
    gsub(/[@<>#%&]/, "\\\\&", text)
    return text
}

# "uint32_t a, b; /* of a; of b */" as two declarations with a text each, or the same.
function apart(line, text,   type, names, count, each, i, part, name) {
    match(line, /^ +(const )?[a-z0-9_]+ +/)
    type = substr(line, 1, RLENGTH)
    names = substr(line, RLENGTH + 1)
    sub(/;.*/, "", names)
    count = split(names, name, /, /)
    each = split(text, part, /; /) == count
    for (i = 1; i <= count; i++)
        printf "%s%s; /**< %s */\n", type, name[i], each ? part[i] : text
}

NR == 1 {
    text = words($0)
    sub(/^mako\/[a-z_]+\.h - /, "", text)
    printf "/** @file\n@brief %s */\n", text
    next
}
/^\/\* ----/ { next }
/^[ \t]*\/\*/ {
    text = words($0)
    indented = /^[ \t]/
    print "/** " text " */"
    fresh = 1
    next
}
/^[ \t]*$/ { text = ""; print; next }
/^ +(const )?[a-z0-9_]+ [*a-z_]+(, [*a-z_]+)+;/ {
    if (at = index($0, "/*"))
        text = words(substr($0, at))
    apart($0, text)
    next
}
(at = index($0, "/*")) && !/\\$/ { print substr($0, 1, at - 1) "/**< " words(substr($0, at)) " */"; next }
/^(MAKO_API|typedef)/ && !fresh && text != "" { print "/** " text " */" }
{ print; fresh = 0 }
