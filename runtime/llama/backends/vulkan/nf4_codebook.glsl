// The codebook of NF4, for the blocks that a marked file types IQ4_NL (quant/carrier.go): nf4_codebook.awk puts it in the
// place of IQ4_NL's in the shaders for that type. A weight is its block's scale times the value of its code.
const float kvalues_iq4nl_const[16] = {
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
    -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
    0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0
};
