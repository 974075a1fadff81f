# printed.awk WANTED PRINTED - whether two texts are the same, where in the first one "..."
# or the one character for it stands for anything within a line, and alone in a line for any
# lines.
function pattern(text) {
    if (text == "..." || text == "…")
        return "([^\n]*\n)*"
    gsub(/[][\\.^$*+?(){}|\/]/, "\\\\&", text)
    gsub(/\\\.\\\.\\\.|…/, "[^\n]*", text)
    return text "\n"
}
FNR == NR { wanted = wanted pattern($0); next }
{ printed = printed $0 "\n" }
END { exit printed !~ ("^" wanted "$") }
