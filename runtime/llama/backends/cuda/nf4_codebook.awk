# Writes one of ggml-cuda's sources with the codebook of NF4 in its functions for IQ4_NL; IQ4_XS, which has the same
# table, keeps it. Ends with an error where the source is not as expected, as after an update of the module.
FNR == 1 { file = FILENAME; sub(/.*\//, "", file) }

/dequantize_block_iq4_nl\(const void/ || /vec_dot_iq4_nl_q8_1\($/ || /load_tiles_iq4_nl\($/ { inside = 1 }

inside && file == "convert.cu" { changes += gsub(/kvalues_iq4nl/, "nf4_floats") }
inside && file != "convert.cu" {
    changes += gsub(/kvalues_iq4nl/, "nf4_integers")
    changes += gsub(/__half2float\((bq4|bxi)->d\)/, "(& * (1.0f/127))")
}
inside && /^}/ { inside = 0 }

{ print }

END {
    expected["convert.cu"] = 2
    expected["vecdotq.cuh"] = 2
    expected["mmq.cuh"] = 3
    if (changes != expected[file]) {
        printf "%s: %d places of IQ4_NL's codebook, %d were expected\n", file, changes, expected[file] > "/dev/stderr"
        exit 1
    }
}
