# reference.awk - what Doxygen's XML has a description of.  Prints each name (of a function,
# struct, member, enum value, macro or type), with "-" before it where it has none.
BEGIN { RS = "<"; FS = ">" }
function done(what) {
    print (told[what] ? "" : "-") owner (owner != "" && what != "compound" ? "." : "") name[what]
    told[what] = 0
}
/^compounddef / { kind = "compound"; owner = "" }
/^compoundname>/ { name[kind] = $2 }
/^memberdef / { kind = "member"; owner = name["compound"] ~ /\.h$/ ? "" : name["compound"] }
/^enumvalue / { kind = "value" }
/^name>/ { if (kind != "compound") name[kind] = $2 }
/^\/enumvalue>/ { done("value"); kind = "member" }
/^\/memberdef>/ { done("member"); kind = "compound" }
/^(briefdescription|detaileddescription)>/ { telling = 1 }
/^\/(briefdescription|detaileddescription)>/ { telling = 0 }
telling && /^para>/ { told[kind] = 1 }
/^\/compounddef>/ { owner = ""; done("compound") }
