#include "count.h"
#include "devicetest.h"
#include <algorithm>
#include <map>
#include <mutex>
#include <set>

namespace devicetest {

Transfers transfers;

static std::mutex mutex;
static std::map<int, devicetest_products> counts; // by rank, 0: products with a whole weight

static void add(int rank, double multiplications, double bytes) {
    const std::lock_guard<std::mutex> lock(mutex);
    devicetest_products & p = counts[rank];
    p.rank = rank;
    p.calls++;
    p.multiplications += multiplications;
    p.bytes += bytes;
}

void count(const ggml_tensor * node) {
    const ggml_tensor * w = node->src[0], * ids = node->src[2];
    const double weight = (double) ggml_row_size(w->type, w->ne[0])*(double) w->ne[1], products = (double) w->ne[0]*(double) w->ne[1];
    if (node->op == GGML_OP_MUL_MAT_ID) { // of each slot once, however many rows read it
        const int32_t * read = (const int32_t *) ids->data;
        const std::set<int32_t> slots(read, read + ids->ne[0]*ids->ne[1]);
        add((int) std::min(w->ne[0], w->ne[1]), products*(double) ggml_nelements(ids), weight*(double) slots.size());
    } else if (node->op == GGML_OP_MUL_MAT) {
        add(0, products*(double) node->ne[1]*(double) (node->ne[2]*node->ne[3]), weight*(double) (w->ne[2]*w->ne[3]));
    }
}

} // namespace devicetest

using namespace devicetest;

int devicetest_take_products(devicetest_products * out, int capacity) {
    const std::lock_guard<std::mutex> lock(mutex);
    int n = 0;
    for (const auto & [rank, p] : counts) {
        if (n < capacity) {
            out[n++] = p;
        }
    }
    counts.clear();
    return n;
}

void devicetest_take_transfers(devicetest_transfers * out) {
    *out = {transfers.waits.exchange(0), transfers.async.exchange(0), transfers.copies.exchange(0)};
}
