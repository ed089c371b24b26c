// The tokens that end an answer, and the chat formats that llama.cpp knows. Everything here only reads the model.
#include "model.h"
#include <cstring>

using namespace lorikeet;

int32_t ll_end_tokens(const ll_model * w, int32_t * out, int32_t capacity) {
    const std::vector<llama_token> & tokens = w->model->end_tokens;
    for (size_t i = 0; i < tokens.size() && i < (size_t) capacity; i++) {
        out[i] = tokens[i];
    }
    return (int32_t) tokens.size();
}

int32_t ll_known_template(const ll_model * w, const char * const * roles, const char * const * contents, int n,
                            int generation_prompt, char * out, int32_t capacity, ll_error * err) {
    const Model & m = *w->model;
    Call call(m.log);
    return guarded(err, -1, [&] {
        if (m.chat_template.empty()) {
            return -1;
        }
        std::vector<llama_chat_message> messages;
        messages.reserve((size_t) n);
        for (int i = 0; i < n; i++) {
            messages.push_back({roles[i], contents[i]});
        }
        return llama_chat_apply_template(m.chat_template.c_str(), messages.data(), messages.size(), generation_prompt, out, capacity);
    });
}
