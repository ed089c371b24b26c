// Text to tokens and back, and the chat formats that llama.cpp knows. Everything here only reads the model.
#include "model.h"
#include <cstring>

using namespace lorikeet;

int32_t wall_tokenize(const wall_model * w, const char * text, size_t length, int bos, int special,
                      int32_t * out, int32_t capacity, wall_error * err) {
    const Model & m = *w->model;
    Call call(m.log);
    return guarded(err, -1, [&] {
        if (!m.has_vocab()) {
            throw std::runtime_error("the model file has no tokenizer");
        }
        if (length > INT32_MAX) {
            throw std::runtime_error("the text is longer than 2 GiB");
        }
        const int32_t n = llama_tokenize(m.vocab(), text, (int32_t) length, out, capacity, bos, special);
        if (n == INT32_MIN) {
            throw std::runtime_error("the text has too many tokens");
        }
        return n < 0 ? -n : n; // llama.cpp says "that many are needed" with a minus
    });
}

int32_t wall_end_tokens(const wall_model * w, int32_t * out, int32_t capacity) {
    const std::vector<llama_token> & tokens = w->model->end_tokens;
    for (size_t i = 0; i < tokens.size() && i < (size_t) capacity; i++) {
        out[i] = tokens[i];
    }
    return (int32_t) tokens.size();
}

int32_t wall_known_template(const wall_model * w, const char * const * roles, const char * const * contents, int n,
                            int generation_prompt, char * out, int32_t capacity, wall_error * err) {
    const Model & m = *w->model;
    Call call(m.log);
    return guarded(err, -1, [&] {
        if (m.chat_template.empty()) {
            return -1;
        }
        std::vector<llama_chat_message> messages;
        for (int i = 0; i < n; i++) {
            messages.push_back({roles[i], contents[i]});
        }
        return llama_chat_apply_template(m.chat_template.c_str(), messages.data(), messages.size(), generation_prompt, out, capacity);
    });
}
