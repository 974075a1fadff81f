# messages.awk - the sentences in C sources: every string literal that has a space in it,
# joined where the compiler joins it, with "..." for what is filled in.  Not among them:
# help texts, summaries, and what stands in comments.  Prints FILE:LINE<tab>SENTENCE.
# With -v calls=REGEX only literals behind a call of such a function are printed.

# Hand over a literal that is complete.
function finish() {
    if (joined != "" && joined ~ / / && member !~ /^(help|summary|choices)$/ &&
        (calls == "" || call ~ calls)) {
        gsub(/%%/, "\001", joined)
        gsub(/%[-+ #0]*[0-9*]*(\.[0-9*]+)?(hh|h|ll|l|z|j|t)?[diouxXcspf]/, "...", joined)
        gsub(/\001/, "%", joined)
        gsub(/\\n/, "", joined)
        gsub(/\\"/, "\"", joined)
        gsub(/\\\\/, "\\", joined)
        gsub(/(\.\.\.)(\.\.\.)+/, "...", joined)
        sub(/^ +/, "", joined)
        sub(/ +$/, "", joined)
        if (joined ~ / / && joined !~ /^[^a-zA-Z]*$/)
            printf "%s:%d\t%s\n", FILENAME, at, joined
    }
    joined = ""
}

function take(text) {
    if (joined == "")
        at = FNR
    joined = joined text
}

FNR == 1 { finish(); comment = 0; member = call = "" }
/^[ \t]*#/ { next }
{
    line = $0
    while (line != "") {
        if (comment) {
            if (!(end = index(line, "*/")))
                break
            comment = 0
            line = substr(line, end + 2)
        } else if (match(line, /^[ \t]+/)) {
            line = substr(line, RLENGTH + 1)
        } else if (line ~ /^\/\*/) {
            comment = 1
            line = substr(line, 3)
        } else if (match(line, /^'(\\.|[^'\\])'/)) {
            line = substr(line, RLENGTH + 1)
        } else if (match(line, /^"([^"\\]|\\.)*"/)) {
            take(substr(line, 2, RLENGTH - 2))
            line = substr(line, RLENGTH + 1)
        } else if (match(line, /^PRI[a-zA-Z0-9]+/)) {
            take("u") # completes the % before it
            line = substr(line, RLENGTH + 1)
        } else if (match(line, /^[A-Za-z_][A-Za-z_0-9]*/)) {
            finish()
            word = substr(line, 1, RLENGTH)
            line = substr(line, RLENGTH + 1)
            if (line ~ /^ *\(/)
                call = word
            else if (line ~ /^ *=[^=]/)
                member = word
        } else {
            if (line !~ /^\)/)
                finish()
            if (line ~ /^[;{}]/)
                member = call = ""
            else if (line ~ /^,/)
                member = ""
            line = substr(line, 2)
        }
    }
}
END { finish() }
