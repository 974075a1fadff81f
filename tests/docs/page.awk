# page.awk - a page of documentation as a bash script that does what its blocks say, for
# run-page, which has the functions that are called here.  What a block is follows from its
# language and from the HTML comments before it:
#
#   <!-- not run: REASON -->    it cannot be run here; the reason is shown and counted
#   <!-- run by: TEST -->       another test of CTest runs it; "page run by" says so of all
#                               blocks that follow
#   <!-- file: NAME -->         it is the contents of that file
#   <!-- add: NAME -->          it is added to that file
#   <!-- output -->             it is what the block of commands before it printed; an
#                               ellipsis (three dots or the one character) stands for anything
#   <!-- needs: COMMAND -->     it is run where there is such a command
#
# sh runs, in one shell for the whole page.  c is compiled as it stands.  json is a
# configuration, which is checked, or a document.  Everything else must be a file, or output,
# or "text": a picture, a layout, nothing that a reader would type.

function heredoc(call,   end) {
    end = "END_OF_BLOCK_" start
    printf "%s <<'%s'\n%s%s\n", call, end, body, end
}

function wrong(why) { printf "wrong %d \"%s\"\n", start, why }

function emit() {
    if (reason != "") {
        printf "not_run %d %s\n", start, quote(reason)
        return
    }
    if (test != "" || whole != "") {
        printf "run_by %d %s\n", start, quote(test != "" ? test : whole)
        return
    }
    if (needs != "")
        printf "if have %d %s; then\n", start, quote(needs)
    if (output)
        heredoc("printed " start)
    else if (file != "")
        heredoc((adds ? "add " : "file ") start " " quote(file))
    else if (language == "sh")
        printf "begin %d\n{\n%s} >\"$out\" 2>&1\ndone_with\n", start, body
    else if (language == "c")
        heredoc("file " start " block" start ".c")
    else if (language == "json")
        heredoc("file " start " block" start ".json")
    else if (language == "text" && body ~ /(^|\n)(\$ |\.\/dev|cmake |ctest |mako-|gcc |cc |pkg-config )/)
        wrong("commands in a block of text")
    else if (language == "text")
        printf "shown %d\n", start
    else
        wrong("a block of \\\"" language "\\\" that nothing runs and no comment explains")
    if (needs != "")
        print "fi"
}

function quote(text) {
    gsub(/'/, "'\\''", text)
    return "'" text "'"
}

function forget() { reason = file = needs = test = ""; output = adds = 0 }

inside && /^ *```$/ {
    emit()
    forget()
    inside = 0
    next
}
inside {
    line = $0
    sub("^" indent, "", line)
    body = body line "\n"
    next
}
/^ *```/ {
    inside = 1
    start = FNR
    body = ""
    match($0, /^ */)
    indent = substr($0, 1, RLENGTH)
    language = substr($0, RLENGTH + 4)
    next
}
/^ *<!-- .* -->$/ {
    text = $0
    gsub(/^ *<!-- *| *-->$/, "", text)
    if (text ~ /^not run: .+ /)
        reason = substr(text, 10)
    else if (text ~ /^run by: /)
        test = substr(text, 9)
    else if (text ~ /^page run by: /)
        whole = substr(text, 14)
    else if (text ~ /^file: /)
        file = substr(text, 7)
    else if (text ~ /^add: /) {
        file = substr(text, 6)
        adds = 1
    } else if (text ~ /^needs: /)
        needs = substr(text, 8)
    else if (text == "output")
        output = 1
    next
}
# A comment that begins here and goes on is a reason in several lines.
/^ *<!-- not run: / {
    reason = $0
    while (reason !~ /-->/ && (getline more) > 0)
        reason = reason " " more
    gsub(/^ *<!-- not run: | *-->$/, "", reason)
    next
}
/[^ ]/ { forget() }
END {
    if (inside)
        wrong("a block without an end")
}
