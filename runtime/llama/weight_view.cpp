#include "weight_view.h"
#include "ggml-backend.h"
#include <mutex>

namespace lorikeet {

WeightRows::WeightRows(const Model & m, int target)
    : n_in(m.targets[(size_t) target].n_in), n_out(m.targets[(size_t) target].n_out), weight(m.targets[(size_t) target].weight), device(on_device(weight)) {
    if (device) {
        nf4 = m.device_nf4.count(weight) > 0;
        read_from_device({}, 0, std::min(n_out, (int) LQ_READ_ROWS)); // throws where it cannot be read
    } else if (lq_view(weight, m.packed(weight), &view) != LQ_OK) {
        refuse();
    }
}

void WeightRows::refuse() const {
    throw std::runtime_error(std::string(weight->name) + ": the adapter needs the weights themselves, and those of type "
        + ggml_type_name(weight->type) + " in this layout cannot be read");
}

std::unique_ptr<float[]> WeightRows::read(const lq_low_rank & change, int row, int rows) const {
    if (device) {
        return read_from_device(change, row, rows);
    }
    const size_t n = (size_t) LQ_READ_ROWS*(size_t) n_in;
    std::unique_ptr<float[]> out(new float[2*n]);
    lq_read_rows(&view, &change, row, rows, out.get(), out.get() + n);
    return out;
}

std::unique_ptr<float[]> WeightRows::read_from_device(const lq_low_rank & change, int row, int rows) const {
    static std::mutex one_at_a_time; // not every back end copies for several threads at once
    const size_t bytes = (size_t) rows*weight->nb[1];
    const std::unique_ptr<char[]> copied(new char[bytes]);
    {
        const std::lock_guard<std::mutex> lock(one_at_a_time);
        ggml_backend_tensor_get(weight, copied.get(), (size_t) row*weight->nb[1], bytes);
    }
    ggml_tensor piece = *weight;
    piece.ne[1] = rows;
    piece.data = copied.get();
    piece.buffer = nullptr;
    const Nf4Weight packed(nf4 ? lk_nf4_pack(LK_NF4_32, copied.get(), n_in, rows, LK_NF4_F32) : nullptr);
    if (nf4 && !packed) {
        throw std::bad_alloc();
    }
    lq_weight of_piece;
    if (lq_view(&piece, {packed.get(), nullptr}, &of_piece) != LQ_OK) {
        refuse();
    }
    lq_low_rank rest = change; // from the piece's first row on
    rest.b = change.b ? change.b + (size_t) row*change.row_step : nullptr;
    const size_t n = (size_t) LQ_READ_ROWS*(size_t) n_in;
    std::unique_ptr<float[]> out(new float[2*n]);
    lq_read_rows(&of_piece, &rest, 0, rows, out.get(), out.get() + n);
    return out;
}

} // namespace lorikeet
