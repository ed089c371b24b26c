# Writes types.glsl with the codebook of NF4 for the shaders that read IQ4_NL; those of IQ4_XS, which has the same table,
# keep it. Ends with an error where the source is not as expected, as after an update of the module.
/^const int8_t kvalues_iq4nl_const\[16\] = \{/ {
    print "#if defined(DATA_A_IQ4_NL)"
    print "#include \"nf4_codebook.glsl\""
    print "#else"
    tables++
    inside = 1
}

{ print }

inside && /^};/ { print "#endif"; inside = 0 }

END {
    if (tables != 1 || inside) {
        print "types.glsl does not have one table of IQ4_NL, as was expected" > "/dev/stderr"
        exit 1
    }
}
