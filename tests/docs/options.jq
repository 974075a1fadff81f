# options.jq - what conf/mako-snapshot.schema.json says of a plugin's options, made of what
# "mako-snapshot describe PLUGIN --json" says of them.  Written back with
#     jq -f tests/docs/options.jq
# into "$defs", under "options-PLUGIN"; a test compares.
def number: if . == null then empty else tonumber end;
def limits: {minimum: (.min // null | number)}, {maximum: (.max // null | number)};
def value:
    if .type == "bool" then {type: "boolean"}
    elif .type == "int" then reduce limits as $one ({type: "integer"}; . + $one)
    elif .type == "size" or .type == "duration" then
        {anyOf: [reduce limits as $one ({type: "integer"}; . + $one),
                 {type: "string", minLength: 1}]}
    elif .choices then {anyOf: [{enum: (.choices / "|")}, {type: "string", pattern: "\\$\\{"}]}
    else {type: "string"} end;
def default:
    if .default == null then {}
    elif .type == "bool" then {default: (.default == "true")}
    elif .type == "int" or (.default | test("^[0-9]+$")) then {default: (.default | tonumber)}
    else {default: .default} end;

reduce (to_entries[] | select(.key | startswith("option.")) |
        {name: (.key / ".")[1], field: (.key / ".")[2], value}) as $one
    ({}; .[$one.name][$one.field] = $one.value)
| {
    type: "object",
    properties: map_values({description: .help} + value + default),
    patternProperties: {"^(_.*|\\$schema)$": true},
    additionalProperties: false
} + ([to_entries[] | select(.value.required == "true") | .key] |
     if . == [] then {} else {required: .} end)
