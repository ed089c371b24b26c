// What a trainer of graphs allocates: the host's arrays, flat tensors on the device, and the memory that its largest graph computes
// in. The estimate makes the same graphs without memory, so the two cannot disagree.
#include "graph_trainer.h"
#include <algorithm>
#include <set>
#include <string>

namespace lq {

namespace {

constexpr size_t SCORES = 16 << 20, LOGITS = 16 << 20; // floats that one range of queries and one chunk of the loss make at most

int widest_input(const lq_model & m) { return std::max({m.n_embd, m.n_heads*m.head_size, m.n_ff}); }

} // namespace

ggml_tensor * GraphTrainer::flat(int64_t n, ggml_type type) { return ggml_new_tensor_1d(context.get(), type, std::max<int64_t>(n, 1)); }

// Decides how weights are decoded, and makes the tensors that this takes.
void GraphTrainer::make_weight_reader() {
    ggml_backend_t b = graphs.backend.get();
    bool product = false;
    const auto look = [&](ggml_tensor * w) { product = product || decoding_of(b, w) == Decoding::product; };
    for (const GraphLayer & l : graphs.layers) {
        std::for_each(l.linear, l.linear + LQ_LINEARS, look);
    }
    look(graphs.head);
    reader.identity = product ? ggml_new_tensor_2d(context.get(), GGML_TYPE_F32, IDENTITY, IDENTITY) : nullptr;
    ggml_tensor * f = ggml_new_tensor_2d(context.get(), GGML_TYPE_F32, 1, 1); // asked about alone, and 4 bytes
    ggml_tensor * half = ggml_cast(context.get(), f, GGML_TYPE_BF16);
    const bool able = ggml_backend_supports_op(b, half) && ggml_backend_supports_op(b, ggml_mul_mat(context.get(), half, f));
    reader.floats = options.single || !able ? GGML_TYPE_F32 : GGML_TYPE_BF16;
}

void GraphTrainer::set_query_ranges() {
    ranges.clear();
    size_t sequence = 0, mask = 0;
    for (int begin = 0; begin < T; begin += query_block) {
        while (sequences[sequence].end <= begin) {
            sequence++;
        }
        ranges.push_back({begin, std::min(begin + query_block, T), sequences[sequence].begin, mask});
        mask += ((size_t) ranges.back().queries()*ranges.back().keys() + 63)/64*64;
    }
}

void GraphTrainer::make_tensors() {
    const ggml_init_params params = {(model.n_layers + 3*loras.size() + 32)*ggml_tensor_overhead(), nullptr, true};
    context.reset(ggml_init(params));
    if (!context) {
        throw std::bad_alloc();
    }
    const int64_t max = options.max_tokens, q = (int64_t) model.n_heads*model.head_size, kv = (int64_t) model.n_kv_heads*model.head_size;
    for (int i = 0; i <= model.n_layers; i++) {
        residuals.push_back(flat(model.n_embd*max));
    }
    // Each a tensor of its own: products need operands that begin at an alignment of the device. The embedding's stay on the host.
    for (const Lora & l : loras) {
        if (&l == lora_of(0, LQ_EMBED)) {
            adapters_there.push_back({});
            continue;
        }
        adapters_there.push_back({ggml_new_tensor_2d(context.get(), GGML_TYPE_F32, l.n_in, l.rank),
            ggml_new_tensor_2d(context.get(), GGML_TYPE_F32, l.n_out, l.rank), l.dora ? flat(l.n_out) : nullptr});
    }
    grad = flat(model.n_embd*max);
    attended = flat(q*max);
    dq = flat(q*max);
    dk = flat(kv*max);
    dv = flat(kv*max);
    logits = flat((int64_t) model.n_vocab*head_rows);
    masks = flat((int64_t) (ranges.back().mask + (size_t) ranges.back().queries()*ranges.back().keys()), GGML_TYPE_F16);
    positions = flat(max, GGML_TYPE_I32);
    rope_factors = model.rope_freq_scale ? flat(model.head_size/2) : nullptr;
    make_weight_reader();
}

// The graph of the largest batch that needs the most memory, for one sequence and with every head row labelled. Sets compute_bytes.
std::function<GraphTrainer::GraphPtr()> GraphTrainer::largest_graph() {
    std::vector<std::function<GraphPtr()>> kinds;
    std::set<std::string> seen;
    const auto add = [&](const std::string & key, std::function<GraphPtr()> build) {
        if (seen.insert(key).second) {
            kinds.push_back(std::move(build));
        }
    };
    for (int i = 0; i < model.n_layers; i++) {
        std::string key;
        for (int j = 0; j < LQ_LINEARS; j++) {
            const Lora * l = lora_of(i, j);
            key += std::to_string(graphs.layers[i].linear[j]->type) + (l ? "r" + std::to_string(l->rank) + (l->dora ? "d" : "") : "") + ".";
        }
        add("forward " + key, [this, i] { return forward_graph(i); });
        if (i >= first_layer) {
            add("backward " + key, [this, i] { return backward_graph(i, true); });
        }
    }
    for (size_t i = 0; i < loras.size(); i++) {
        const Lora & l = loras[i];
        if (l.dora) {
            ggml_tensor * w = modules[i].target == LQ_HEAD ? graphs.head : graphs.layers[modules[i].layer].linear[modules[i].target];
            add("norms " + std::to_string(w->type) + " " + std::to_string(l.n_in) + " " + std::to_string(l.n_out) + " " + std::to_string(l.rank),
                [this, &l, w] { return norms_graph(l, w); });
        }
    }
    add("loss", [this] { return loss_graph(0, head_rows, true); });
    if (!model.embed.kind) {
        add("embedding", [this] { return embedding_graph(); });
    }
    std::function<GraphPtr()> largest;
    for (const auto & build : kinds) {
        const size_t bytes = build()->buffer_bytes();
        if (bytes > compute_bytes) {
            compute_bytes = bytes;
            largest = build;
        }
    }
    return largest;
}

// Back ends end the process where they find no memory while they compute. Beside our buffers they take some of their own: CUDA
// the operands and the result of a product in half precision.
void GraphTrainer::check_free_memory() const {
    size_t free = 0, total = 0;
    ggml_backend_dev_memory(ggml_backend_get_device(graphs.backend.get()), &free, &total);
    const int64_t width = widest_input(model) + std::max<int64_t>(widest_input(model), model.n_vocab*(int64_t) head_rows/options.max_tokens);
    const size_t own = (size_t) (options.max_tokens*width)*sizeof(ggml_bf16_t);
    if (total > 0 && device_bytes + compute_bytes + own > free) {
        const auto mib = [](size_t n) { return std::to_string((n >> 20) + 1) + " MiB"; };
        throw Error{LQ_MEMORY, "training needs " + mib(device_bytes + compute_bytes + own) + " of the device " + ggml_backend_name(graphs.backend.get()) +
            ", of whose memory " + std::to_string(free >> 20) + " MiB are free"};
    }
}

void GraphTrainer::allocate_device() {
    ggml_backend_buffer_type_t type = ggml_backend_get_default_buffer_type(graphs.backend.get());
    buffer.reset(ggml_backend_alloc_ctx_tensors_from_buft(context.get(), type));
    if (!buffer) {
        throw Error{LQ_MEMORY, "training needs " + std::to_string((device_bytes >> 20) + 1) + " MiB beside what it computes in, which the device " +
            ggml_backend_name(graphs.backend.get()) + " does not have"};
    }
    if (rope_factors) {
        std::vector<float> factors(model.head_size/2);
        for (int i = 0; i < model.head_size/2; i++) {
            factors[i] = 1/model.rope_freq_scale[i];
        }
        ggml_backend_tensor_set(rope_factors, factors.data(), 0, ggml_nbytes(rope_factors));
    }
    if (reader.identity) {
        fill_identity(reader.identity);
    }
}

GraphTrainer::GraphTrainer(lq_graphs & g, const lq_options & o, bool measure) : AdapterTrainer(g.model, o, 1), graphs(g) {
    const size_t per_query = (size_t) model.n_heads*options.max_tokens;
    query_block = options.query_block > 0 ? options.query_block : (int) std::max<size_t>(16, SCORES/per_query/16*16);
    head_rows = std::min(options.max_tokens, (int) std::clamp<size_t>(LOGITS/model.n_vocab, 16, 512));
    T = options.max_tokens;
    sequences = {{0, T}};
    labelled.resize(head_rows);
    label.resize(T);
    picked.resize(head_rows);
    weight.resize(T);
    entropies = true;
    drop = options.dropout;
    set_query_ranges();
    make_tensors();
    device_bytes = ggml_backend_alloc_ctx_tensors_from_buft_size(context.get(), ggml_backend_get_default_buffer_type(graphs.backend.get()));

    const auto divide = [&](Arena & arena) {
        allocate_arrays(arena, model, options, arrays);
        staging = arena.floats(std::max((size_t) T*model.n_embd, ggml_nbytes(masks)/sizeof(float) + 1));
        host_bytes = arena.bytes() + (options.dropout > 0 ? (size_t) T*widest_input(model)*sizeof(float) : 0); // a mask on its way to the device
    };
    Arena count(nullptr);
    divide(count);
    for (ggml_tensor * t = ggml_get_first_tensor(context.get()); t; t = ggml_get_next_tensor(context.get(), t)) {
        t->data = t->data ? t->data : context.get(); // graphs that are only measured need addresses, which nothing reads
    }
    const auto largest = largest_graph();
    if (measure) {
        return;
    }
    for (ggml_tensor * t = ggml_get_first_tensor(context.get()); t; t = ggml_get_next_tensor(context.get(), t)) {
        t->data = nullptr;
    }
    check_free_memory();
    mapping = std::make_unique<Mapping>(count.bytes());
    Arena arena(mapping->base());
    divide(arena);
    allocate_device();
    allocator.reset(ggml_gallocr_new(ggml_backend_get_default_buffer_type(graphs.backend.get())));
    largest()->reserve(allocator.get());
    place_adapters();
    compute = {kernels_for(options.isa), &pool, nullptr};
    upload_parameters();
    schedule_norms();
    init_magnitudes();
}

} // namespace lq
