// What a trainer of graphs allocates: its own are the host's arrays and the adapter's parameters on the device. In the workspace it
// has flat tensors on the device and the memory that its largest graph computes in. The estimate makes the same graphs without
// memory, so the two cannot disagree.
#include "graph_trainer.h"
#include <algorithm>
#include <set>
#include <string>

namespace lq {

namespace {

constexpr double HOST_SLICE = 4e7; // operations of a slice of what the CPU does: the adapter's start and the optimizer

constexpr size_t SCORES = 16 << 20, LOGITS = 16 << 20; // floats that one range of queries and one chunk of the loss make at most

int widest_input(const lq_model & m) { return std::max({m.n_embd, m.n_heads*m.head_size, m.n_ff}); }

} // namespace

ggml_tensor * GraphTrainer::flat(int64_t n, ggml_type type) { return ggml_new_tensor_1d(context.get(), type, std::max<int64_t>(n, 1)); }

// Decides how weights are decoded, and makes the tensors that this takes.
void GraphTrainer::make_weight_reader() {
    ggml_context * c = own_context.get();
    ggml_backend_t b = graphs.backend.get();
    bool product = false;
    const auto look = [&](ggml_tensor * w) { product = product || decoding_of(b, w) == Decoding::product; };
    for (const GraphLayer & l : graphs.layers) {
        std::for_each(l.linear, l.linear + LQ_LINEARS, look);
    }
    look(graphs.head);
    reader.identity = product ? ggml_new_tensor_2d(c, GGML_TYPE_F32, IDENTITY, IDENTITY) : nullptr;
    ggml_tensor * f = ggml_new_tensor_2d(c, GGML_TYPE_F32, 1, 1); // asked about alone, and 4 bytes
    ggml_tensor * half = ggml_cast(c, f, GGML_TYPE_BF16);
    const bool able = ggml_backend_supports_op(b, half) && ggml_backend_supports_op(b, ggml_mul_mat(c, half, f));
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

// The adapters' matrices are each a tensor of its own: products need operands that begin at an alignment of the device. The
// embedding's stay on the host.
void GraphTrainer::make_own_tensors() {
    own_context.reset(ggml_init({(3*loras.size() + own_norms.size() + 16)*ggml_tensor_overhead(), nullptr, true}));
    if (!own_context) {
        throw std::bad_alloc();
    }
    ggml_context * c = own_context.get();
    for (const Lora & l : loras) {
        if (&l == lora_of(0, LQ_EMBED)) {
            adapters_there.push_back({});
            continue;
        }
        adapters_there.push_back({ggml_new_tensor_2d(c, GGML_TYPE_F32, l.n_in, l.rank), ggml_new_tensor_2d(c, GGML_TYPE_F32, l.n_out, l.rank),
            l.dora ? ggml_new_tensor_1d(c, GGML_TYPE_F32, l.n_out) : nullptr});
    }
    for (const OwnNorm & o : own_norms) {
        norms_there.push_back(ggml_new_tensor_1d(c, GGML_TYPE_F32, o.n));
    }
    rope_factors = model.rope_freq_scale ? ggml_new_tensor_1d(c, GGML_TYPE_F32, model.head_size/2) : nullptr;
    make_weight_reader();
}

void GraphTrainer::make_tensors() {
    context.reset(ggml_init({(model.n_layers + 16)*ggml_tensor_overhead(), nullptr, true}));
    if (!context) {
        throw std::bad_alloc();
    }
    const int64_t max = options.max_tokens, q = (int64_t) model.n_heads*model.head_size, kv = (int64_t) model.n_kv_heads*model.head_size;
    for (int i = 0; i <= model.n_layers; i++) {
        residuals.push_back(flat(model.n_embd*max));
    }
    grad = flat(model.n_embd*max);
    attended = flat(q*max);
    dq = flat(q*max);
    dk = flat(kv*max);
    dv = flat(kv*max);
    logits = flat((int64_t) model.n_vocab*head_rows);
    masks = flat((int64_t) (ranges.back().mask + (size_t) ranges.back().queries()*ranges.back().keys()), GGML_TYPE_F16);
    positions = flat(max, GGML_TYPE_I32);
}

// The graph of the largest batch that needs the most memory, for one sequence and with every head row labelled. Sets size.compute.
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
        for (int j = 0; j < LQ_LAYER_NORMS; j++) {
            key += own_norm(i, j) ? "n" : "-";
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
    size_t most = 0;
    for (const auto & build : kinds) {
        const size_t bytes = build()->buffer_bytes();
        if (!largest || bytes > most) {
            most = bytes;
            largest = build;
        }
    }
    size.compute = std::max(size.compute, most);
    return largest;
}

// One sequence of the most tokens, with every row of the head labelled.
void GraphTrainer::describe_largest_batch() {
    T = options.max_tokens;
    sequences = {{0, T}};
    labelled.resize(head_rows);
    label.resize(T);
    active.assign(options.activated ? T : 0, 1);
    active_labelled.assign(head_rows, 1);
    picked.resize(head_rows);
    weight.resize(T);
    entropies = true;
    drop = options.dropout;
}

// Back ends end the process where they find no memory while they compute. Beside our buffers they take some of their own: CUDA
// the operands and the result of a product in half precision.
void GraphTrainer::check_free_memory() const {
    size_t free = 0, total = 0;
    ggml_backend_dev_memory(ggml_backend_get_device(graphs.backend.get()), &free, &total);
    const int64_t width = widest_input(model) + std::max<int64_t>(widest_input(model), model.n_vocab*(int64_t) head_rows/options.max_tokens);
    const size_t own = (size_t) (options.max_tokens*width)*sizeof(ggml_bf16_t);
    const size_t needed = own_bytes + size.device + size.compute + own;
    if (total > 0 && needed > free) {
        const auto mib = [](size_t n) { return std::to_string((n >> 20) + 1) + " MiB"; };
        throw Error{LQ_MEMORY, "training needs " + mib(needed) + " of the device " + ggml_backend_name(graphs.backend.get()) +
            ", of whose memory " + std::to_string(free >> 20) + " MiB are free"};
    }
}

void GraphTrainer::allocate_own_tensors() {
    buffer.reset(ggml_backend_alloc_ctx_tensors_from_buft(own_context.get(), ggml_backend_get_default_buffer_type(graphs.backend.get())));
    if (!buffer && own_bytes > 0) {
        throw Error{LQ_MEMORY, "an adapter in training needs " + std::to_string((own_bytes >> 20) + 1) + " MiB of the device " +
            ggml_backend_name(graphs.backend.get()) + ", which it does not have"};
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

// Gives the tensors of the workspace their places in the memory that was lent.
void GraphTrainer::place_tensors() {
    ggml_tallocr places = ggml_tallocr_new(shared.device());
    for (ggml_tensor * t = ggml_get_first_tensor(context.get()); t; t = ggml_get_next_tensor(context.get(), t)) {
        t->data = nullptr;
        t->buffer = nullptr;
        if (ggml_tallocr_alloc(&places, t) != GGML_STATUS_SUCCESS) {
            throw Error{LQ_FAILED, std::string("a tensor of training has no place on the device ") + ggml_backend_name(graphs.backend.get())};
        }
    }
}

bool GraphTrainer::take_workspace(size_t) {
    if (!shared.borrow(&need, size.host, SIZE_MAX)) {
        return false;
    }
    try {
        if (placed != shared.device_generation()) {
            place_tensors();
            placed = shared.device_generation();
        }
        allocator = shared.allocator(size.compute, [this](ggml_gallocr_t a) {
            if (!waiting) { // the largest batch is described, or it grows with the graphs of the one that is
                largest_graph()()->reserve(a);
            }
        });
    } catch (...) {
        placed = 0;
        shared.give_back();
        throw;
    }
    staging = (float *) shared.host();
    return true;
}

GraphTrainer::GraphTrainer(lq_graphs & g, lq_workspace & w, const lq_options & o, bool measure) : AdapterTrainer(g.model, w, o, HOST_SLICE), graphs(g) {
    const size_t per_query = (size_t) model.n_heads*options.max_tokens;
    query_block = options.query_block > 0 ? options.query_block : (int) std::max<size_t>(16, SCORES/per_query/16*16);
    head_rows = std::min(options.max_tokens, (int) std::clamp<size_t>(LOGITS/model.n_vocab, 16, 512));
    describe_largest_batch();
    set_query_ranges();
    make_own_tensors();
    make_tensors();
    ggml_backend_buffer_type_t type = ggml_backend_get_default_buffer_type(graphs.backend.get());
    own_bytes = ggml_backend_alloc_ctx_tensors_from_buft_size(own_context.get(), type);
    size.device = ggml_backend_alloc_ctx_tensors_from_buft_size(context.get(), type);
    size.host = std::max((size_t) T*model.n_embd, ggml_nbytes(masks)/sizeof(float) + 1)*sizeof(float);
    const auto each = [&](void * address) { // graphs that are only measured need addresses, which nothing reads
        for (ggml_context * c : {own_context.get(), context.get()}) {
            for (ggml_tensor * t = ggml_get_first_tensor(c); t; t = ggml_get_next_tensor(c, t)) {
                t->data = address;
            }
        }
    };
    each(context.get());
    largest_graph();
    size.host += options.dropout > 0 ? (size_t) T*widest_input(model)*sizeof(float) : 0; // a mask on its way to the device
    if (measure) {
        return;
    }
    each(nullptr);
    check_free_memory();
    allocate_own();
    allocate_own_tensors();
    compute = {kernels_for(options.isa), pool.get(), nullptr};
    join(size);
}

} // namespace lq
