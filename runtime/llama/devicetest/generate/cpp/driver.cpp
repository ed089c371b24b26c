// Asks the two functions about operations of every type and shape, and prints what they take as facts.
// It is compiled with -include facts.h, together with the functions' own text between stubs of what they need beside ggml.h.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <tuple>
#include <vector>

bool cuda_takes(const ggml_tensor * op);
bool vulkan_takes(const ggml_tensor * op);

using namespace devicetest;

enum Layout { CONTIGUOUS, PADDED_DEPTH, PADDED_PLANES, PADDED_ROWS, PERMUTED, TRANSPOSED, LAYOUTS };

struct Shape {
    Layout first = CONTIGUOUS, second = CONTIGUOUS, result = CONTIGUOUS;
    int64_t width = 256, first_planes = 4, second_planes = 4, second_depth = 1, result_planes = 4, masks = 1;
    float bias = 0;
    bool other_values = false;
};

static std::vector<Shape> shapes() {
    std::vector<Shape> out;
    auto add = [&](auto change) { out.emplace_back(); change(out.back()); };
    for (int l = CONTIGUOUS; l < LAYOUTS; l++) {
        add([&](Shape & s) { s.first = (Layout) l; });
        add([&](Shape & s) { s.second = (Layout) l; });
        add([&](Shape & s) { s.result = (Layout) l; });
    }
    for (int64_t width : {1023, 1024, 2048, 260}) {
        add([&](Shape & s) { s.width = width; });
    }
    add([](Shape & s) { s.first_planes = 40000; });
    add([](Shape & s) { s.second_planes = 2048; });
    add([](Shape & s) { s.second_depth = 2; });
    add([](Shape & s) { s.result_planes = 1; });
    add([](Shape & s) { s.masks = 8; });
    add([](Shape & s) { s.bias = 1; });
    add([](Shape & s) { s.other_values = true; });
    return out;
}

static ggml_tensor tensor(ggml_type type, int64_t n0, int64_t n1, int64_t n2, int64_t n3, Layout layout) {
    ggml_tensor t = {};
    t.type = type;
    const int64_t n[] = {n0, n1, n2, layout == PADDED_DEPTH ? 2 : n3};
    memcpy(t.ne, n, sizeof n);
    t.nb[0] = ggml_type_size(type);
    t.nb[1] = ggml_row_size(type, n0) + (layout == PADDED_ROWS ? t.nb[0]*8 : 0);
    t.nb[2] = t.nb[1]*n1 + (layout == PADDED_PLANES ? t.nb[1] : 0);
    t.nb[3] = t.nb[2]*n2 + (layout == PADDED_DEPTH ? t.nb[1] : 0);
    if (layout == PERMUTED) {
        std::swap(t.nb[1], t.nb[2]);
        std::swap(t.ne[1], t.ne[2]);
    }
    if (layout == TRANSPOSED) {
        std::swap(t.nb[0], t.nb[1]);
        std::swap(t.ne[0], t.ne[1]);
    }
    return t;
}

// An operation to ask about. Its sources lie in it.
struct Question {
    ggml_tensor op, src[5];
};

static void ask(Question & q, ggml_op op, int sub, ggml_type result, ggml_type first, int second, const Shape & s) {
    const int64_t rows = 8;
    q.op = tensor(result, s.width, rows, s.result_planes, 1, s.result);
    q.op.op = op;
    q.src[0] = tensor(first, s.width, rows, s.first_planes, 1, s.first);
    if (second != NO_SECOND) {
        q.src[1] = tensor((ggml_type) second, s.width, rows, s.second_planes, s.second_depth, s.second);
    }
    q.src[2] = tensor(op == GGML_OP_MUL_MAT_ID || op == GGML_OP_ADD_ID ? GGML_TYPE_I32 : GGML_TYPE_F32, 1, rows, 1, 1, CONTIGUOUS);
    q.src[3] = q.src[4] = tensor(GGML_TYPE_F32, 1, 1, 1, 1, CONTIGUOUS);
    int n = second == NO_SECOND ? 1 : 2;
    if (op == GGML_OP_MUL_MAT_ID || op == GGML_OP_ADD_ID || op == GGML_OP_CROSS_ENTROPY_LOSS_BACK) {
        n = 3;
    }
    if (op == GGML_OP_OPT_STEP_ADAMW) {
        n = 5;
    }
    if (op == GGML_OP_FLASH_ATTN_EXT) { // sub: the head size
        n = 4;
        q.src[0] = tensor(first, 8*sub, rows, 8, 1, CONTIGUOUS);
        q.src[1] = tensor((ggml_type) second, 8*sub, 256, 2, 1, CONTIGUOUS);
        q.src[2] = tensor(s.other_values ? (second == GGML_TYPE_F32 ? GGML_TYPE_F16 : GGML_TYPE_F32) : (ggml_type) second, s.other_values ? 8*sub + 256 : 8*sub, 256, 2, 1, CONTIGUOUS);
        q.src[3] = tensor(GGML_TYPE_F16, 256, 64, s.masks, 1, CONTIGUOUS);
    }
    if (op == GGML_OP_UNARY || op == GGML_OP_GLU) {
        q.op.op_params[0] = sub;
    }
    if (op == GGML_OP_SOFT_MAX || op == GGML_OP_SOFT_MAX_BACK || op == GGML_OP_FLASH_ATTN_EXT) {
        memcpy(&q.op.op_params[1], &s.bias, sizeof s.bias);
    }
    for (int i = 0; i < n; i++) {
        if (i != 1 || second != NO_SECOND) {
            q.op.src[i] = &q.src[i];
        }
    }
}

// The conditions that tell the looks that are taken from the others. False: none do.
static bool find_needs(const std::vector<std::pair<uint32_t, bool>> & answers, uint32_t & needs) {
    auto right = [&](uint32_t n) {
        for (const auto & [conditions, taken] : answers) {
            if (((conditions & n) == n) != taken) {
                return false;
            }
        }
        return true;
    };
    needs = ~0u;
    for (const auto & [conditions, taken] : answers) {
        needs &= taken ? conditions : ~0u;
    }
    if (!right(needs)) {
        return false;
    }
    for (uint32_t bit = 1; bit; bit <<= 1) {
        if ((needs & bit) && right(needs & ~bit)) {
            needs &= ~bit;
        }
    }
    return true;
}

typedef std::tuple<int, uint32_t, uint32_t, uint64_t, uint64_t, uint64_t, uint64_t> Row; // as Fact

// Joins rows that differ in one set.
template <int I> static std::vector<Row> join(const std::vector<Row> & rows) {
    std::map<Row, uint64_t> sets;
    std::vector<Row> order;
    for (Row r : rows) {
        const uint64_t set = std::get<I>(r);
        std::get<I>(r) = 0;
        if (!sets.count(r)) {
            order.push_back(r);
        }
        sets[r] |= set;
    }
    for (Row & r : order) {
        std::get<I>(r) = sets.at(r);
    }
    return order;
}

struct Family {
    ggml_op op;
    std::vector<int> subs, results, seconds;
};

static std::vector<int> range(int n, int step = 1) {
    std::vector<int> out;
    for (int i = 0; i < n; i += step) {
        out.push_back(i);
    }
    return out;
}

static std::vector<Family> families(const std::vector<int> & types) {
    const std::vector<int> floats = {GGML_TYPE_F32, GGML_TYPE_F16}, f32 = {GGML_TYPE_F32}, i32 = {GGML_TYPE_I32}, none = {NO_SECOND}, zero = {0};
    std::vector<int> floats_or_none = floats;
    floats_or_none.push_back(NO_SECOND);
    std::vector<Family> out = {
        {GGML_OP_UNARY, range(GGML_UNARY_OP_COUNT), floats, none}, {GGML_OP_GLU, range(GGML_GLU_OP_COUNT), floats, floats_or_none},
        {GGML_OP_MUL_MAT, zero, f32, {GGML_TYPE_F32, GGML_TYPE_F16, GGML_TYPE_BF16}}, {GGML_OP_MUL_MAT_ID, zero, f32, {GGML_TYPE_F32, GGML_TYPE_F16}},
        {GGML_OP_GET_ROWS, zero, {GGML_TYPE_F32, GGML_TYPE_I32}, i32}, {GGML_OP_GET_ROWS_BACK, zero, f32, i32},
        {GGML_OP_SET_ROWS, zero, types, {GGML_TYPE_I64, GGML_TYPE_I32}}, {GGML_OP_CPY, zero, types, types}, {GGML_OP_CONT, zero, types, none}, {GGML_OP_DUP, zero, types, none},
        {GGML_OP_ARGSORT, zero, i32, none}, {GGML_OP_TOP_K, zero, i32, none}, {GGML_OP_ARGMAX, zero, i32, none},
        {GGML_OP_SOFT_MAX, zero, f32, floats_or_none}, {GGML_OP_FLASH_ATTN_EXT, range(33), f32, types}, {GGML_OP_COUNT_EQUAL, zero, {GGML_TYPE_I64}, i32},
    };
    for (ggml_op op : {GGML_OP_ADD, GGML_OP_SUB, GGML_OP_MUL, GGML_OP_DIV, GGML_OP_ADD1, GGML_OP_ACC, GGML_OP_SET, GGML_OP_CONCAT}) {
        out.push_back({op, zero, {GGML_TYPE_F32, GGML_TYPE_F16, GGML_TYPE_I32}, {GGML_TYPE_F32, GGML_TYPE_F16, GGML_TYPE_I32}});
    }
    for (ggml_op op : {GGML_OP_OUT_PROD, GGML_OP_ADD_ID, GGML_OP_SILU_BACK, GGML_OP_RMS_NORM_BACK, GGML_OP_SOFT_MAX_BACK, GGML_OP_CROSS_ENTROPY_LOSS,
                       GGML_OP_CROSS_ENTROPY_LOSS_BACK, GGML_OP_OPT_STEP_ADAMW}) {
        out.push_back({op, zero, f32, f32});
    }
    for (ggml_op op : {GGML_OP_ROPE, GGML_OP_ROPE_BACK}) {
        out.push_back({op, zero, floats, i32});
    }
    for (ggml_op op : {GGML_OP_SQR, GGML_OP_SQRT, GGML_OP_LOG, GGML_OP_SIN, GGML_OP_COS, GGML_OP_CLAMP, GGML_OP_SCALE, GGML_OP_NORM, GGML_OP_RMS_NORM, GGML_OP_L2_NORM,
                       GGML_OP_GROUP_NORM, GGML_OP_SUM, GGML_OP_SUM_ROWS, GGML_OP_MEAN, GGML_OP_CUMSUM, GGML_OP_REPEAT, GGML_OP_REPEAT_BACK, GGML_OP_PAD, GGML_OP_ROLL,
                       GGML_OP_TRI, GGML_OP_DIAG, GGML_OP_DIAG_MASK_INF, GGML_OP_DIAG_MASK_ZERO, GGML_OP_LEAKY_RELU, GGML_OP_FILL}) {
        out.push_back({op, zero, floats, none});
    }
    return out;
}

static std::string set_of(uint64_t bits, const std::vector<int> & types) {
    uint64_t all = 0;
    for (int t : types) {
        all |= 1ull << t;
    }
    if (bits == all) {
        return "ALL_TYPES";
    }
    std::string out;
    for (int t : types) {
        if (bits >> t & 1) {
            std::string name = ggml_type_name((ggml_type) t);
            for (char & c : name) {
                c = (char) toupper(c);
            }
            out += (out.empty() ? "T(" : " | T(") + name + ")";
        }
    }
    return bits >> NO_SECOND & 1 ? (out.empty() ? "NONE" : out + " | NONE") : out;
}

static std::string needs_of(uint32_t needs) {
    static const char * const names[] = {"FIRST_DENSE", "FIRST_ROWS", "FIRST_CONTIGUOUS_2", "FIRST_CONTIGUOUS_1", "FIRST_PLANE", "FIRST_CONTIGUOUS", "SECOND_PLANE",
        "SECOND_CONTIGUOUS", "RESULT_CONTIGUOUS", "WIDTH_OF_32", "FIRST_NARROW", "RESULT_NARROW", "FIRST_FEW_PLANES", "SECOND_FEW_PLANES", "ONE_PLANE", "SAME_DEPTH",
        "NO_BIAS", "SAME_KEYS_VALUES", "ONE_MASK"};
    std::string out;
    for (size_t i = 0; i < sizeof names/sizeof *names; i++) {
        if (needs >> i & 1) {
            out += (out.empty() ? "" : " | ") + std::string(names[i]);
        }
    }
    return out.empty() ? "0" : out;
}

static std::vector<int> all_types() {
    std::vector<int> types;
    for (int t = 0; t < GGML_TYPE_COUNT; t++) {
        if (ggml_type_size((ggml_type) t) > 0 && ggml_blck_size((ggml_type) t) > 0 && strcmp(ggml_type_name((ggml_type) t), "NONE") != 0) {
            types.push_back(t);
        }
    }
    return types;
}

static bool fits(int type, Layout layout, const Shape & s) {
    const int64_t block = type == NO_SECOND ? 1 : ggml_blck_size((ggml_type) type);
    return s.width % block == 0 && (block == 1 || layout != TRANSPOSED);
}

// What a back end takes of the operation with these types, over all shapes: a row, or none.
static std::vector<Row> ask_shapes(ggml_op op, int sub, int result, int first, int second, uint32_t backend) {
    static const std::vector<Shape> all = shapes();
    std::vector<std::pair<uint32_t, bool>> answers;
    bool any = false;
    Look as = {};
    for (const Shape & s : all) {
        if (!fits(first, s.first, s) || !fits(second, s.second, s) || !fits(result, s.result, s)) {
            continue;
        }
        Question q;
        ask(q, op, sub, (ggml_type) result, (ggml_type) first, second, s);
        const bool taken = backend == CUDA ? cuda_takes(&q.op) : vulkan_takes(&q.op);
        any |= taken;
        as = look(&q.op);
        answers.push_back({as.conditions, taken});
    }
    uint32_t needs = 0;
    if (any && !find_needs(answers, needs)) {
        fprintf(stderr, "%s %d: types %d, %d, %d: no conditions of facts.h tell what is taken\n", ggml_op_name(op), sub, result, first, second);
        exit(1);
    }
    return any ? std::vector<Row>{{op, backend, needs, 1ull << as.sub, 1ull << as.result, 1ull << as.first, 1ull << as.second}} : std::vector<Row>{};
}

// Whether ggml has such an operation at all.
static bool exists(ggml_op op, int sub, int result, int first, int second) {
    switch (op) {
    case GGML_OP_CPY: return second == result;
    case GGML_OP_CONT:
    case GGML_OP_DUP: return first == result;
    case GGML_OP_FLASH_ATTN_EXT: return sub >= 2 && first == GGML_TYPE_F32;
    default: return true;
    }
}

static void print(const std::vector<Row> & rows, const std::vector<int> & types) {
    printf("static const uint64_t ALL_TYPES = ");
    for (size_t i = 0; i < types.size(); i++) {
        printf("%s1ull << %d", i ? " | " : "", types[i]);
    }
    printf(";\n\nconst Fact facts[] = {\n");
    for (const auto & [op, backends, needs, subs, results, firsts, seconds] : rows) {
        printf("    {GGML_OP_%s, %s, %s,\n        0x%llx, %s, %s, %s},\n", ggml_op_name((ggml_op) op), backends == CUDA ? "CUDA" : backends == VULKAN ? "VULKAN" : "CUDA | VULKAN",
            needs_of(needs).c_str(), (unsigned long long) subs, set_of(results, types).c_str(), set_of(firsts, types).c_str(), set_of(seconds, types).c_str());
    }
    printf("};\n\nconst int n_facts = sizeof facts/sizeof *facts;\n");
}

int main() {
    const std::vector<int> types = all_types();
    std::vector<Row> rows;
    for (const Family & f : families(types)) {
        for (int sub : f.subs) for (int result : f.results) for (int first : types) for (int second : f.seconds) {
            for (uint32_t backend : {CUDA, VULKAN}) {
                if (exists(f.op, sub, result, first, second)) {
                    const std::vector<Row> more = ask_shapes(f.op, sub, result, first, second, backend);
                    rows.insert(rows.end(), more.begin(), more.end());
                }
            }
        }
    }
    print(join<1>(join<3>(join<4>(join<6>(join<5>(rows))))), types);
}
