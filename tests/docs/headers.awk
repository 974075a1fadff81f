# headers.awk - the declarations of the public headers, each on one line: comments, export
# macros and superfluous spaces taken out, a function's body left out.  With -v what=names: what they declare instead.
{ source = source $0 "\n" }
END {
    gsub(/\\\n/, " ", source)
    while (match(source, /\/\*([^*]|\*+[^*\/])*\*+\//))
        source = substr(source, 1, RSTART - 1) " " substr(source, RSTART + RLENGTH)
    count = split(source, line, "\n")
    for (i = 1; i <= count; i++) {
        if (line[i] ~ /^#define MAKO_[A-Z_0-9]+[ (]/ && what == "names") {
            split(line[i], word, /[ (]/)
            print word[2]
        }
        if (line[i] !~ /^#/ && line[i] !~ /^extern "C"/)
            text = text " " line[i]
    }
    statements(text)
}

# Everything up to a ";" outside of braces, or a "}" that ends a function's body.
function statements(text,   i, c, depth, one) {
    gsub(/MAKO_API|MAKO_CHECKED|__attribute__ *\(\([^;]*unused\)\)|__attribute__\(\(visibility[^)]*\)\)\)/, " ", text)
    gsub(/[ \t\n]+/, " ", text)
    for (i = 1; i <= length(text); i++) {
        c = substr(text, i, 1)
        one = one c
        depth += (c == "{") - (c == "}")
        if (depth < 0) { # of extern "C"
            depth = 0
            one = ""
        } else if (depth == 0 && (c == ";" || (c == "}" && one ~ /\) *\{/ && one !~ /^ *(struct|union|enum|typedef)/))) {
            tell(one)
            one = ""
        }
    }
}

function tell(one,   name, i, values, count) {
    gsub(/^ +| +$/, "", one)
    if (one !~ /^(struct|union|enum) [a-z_]+ \{/)
        sub(/ *\{.*/, ";", one) # a function with its body
    gsub(/\* /, "*", one)
    if (one == "" || one == ";")
        return
    if (what != "names") {
        print one
    } else if (match(one, /^(struct|union|enum) [a-z_]+ \{/)) {
        split(one, name, " ")
        print name[2]
        if (name[1] != "enum")
            return
        count = split(substr(one, RLENGTH + 1), values, ",")
        for (i = 1; i <= count; i++)
            if (match(values[i], /MAKO_[A-Z_]+/))
                print substr(values[i], RSTART, RLENGTH)
    } else if (match(one, /mako_[a-z_]+ ?\(/)) {
        print substr(one, RSTART, RLENGTH - 1)
    } else if (match(one, /mako_[a-z_]+;$/)) {
        print substr(one, RSTART, RLENGTH - 1)
    }
}
