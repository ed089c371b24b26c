#include "call.h"
#include "ggml.h"
#include "llama.h"
#include <cstdio>
#include <cstring>

// Written in Go (callbacks.go).
extern "C" void lorikeetLog(uintptr_t handle, int level, char * text);
extern "C" void lorikeetProgress(uintptr_t handle, double done);

namespace lorikeet {

static thread_local Call * current = nullptr;

Call::Call(uintptr_t log) : outer(current), log(log) { current = this; }

Call::~Call() {
    if (!pending.empty()) {
        line(level, pending);
    }
    current = outer;
}

void Call::init() {
    llama_log_set([](ggml_log_level level, const char * text, void *) { sink((int) level, text); }, nullptr);
    // A failed assertion in ggml ends the process. It must not start a debugger for a backtrace first.
    ggml_set_abort_callback([](const char * message) { fprintf(stderr, "llama.cpp aborted: %s\n", message); });
}

// The library logs in pieces; a line is handed on when its newline has come.
void Call::sink(int level, const char * text) {
    Call * call = current;
    if (!call) {
        return;
    }
    if (level != GGML_LOG_LEVEL_CONT) {
        call->level = level;
    }
    for (const char * end; (end = strchr(text, '\n')); text = end + 1) {
        call->pending.append(text, end);
        call->line(call->level, call->pending);
        call->pending.clear();
    }
    call->pending += text;
}

void Call::line(int level, const std::string & text) {
    if (level == GGML_LOG_LEVEL_ERROR) {
        if (first_error.empty()) {
            first_error = text;
        }
        // The words of ggml and llama.cpp, which have no code for it.
        no_memory |= text.find("failed to allocate") != std::string::npos || text.find("insufficient memory") != std::string::npos
            || text.find("std::bad_alloc") != std::string::npos;
    }
    int done, total;
    if (counter && sscanf(text.c_str(), "[%d/%d]", &done, &total) == 2 && total > 0) {
        lorikeetProgress(counter, (double) done/total);
    }
    if (log && !text.empty()) {
        lorikeetLog(log, level, const_cast<char *>(text.c_str()));
    }
}

std::string Call::error(const std::string & otherwise) const {
    if (first_error.empty()) {
        return otherwise;
    }
    // "llama_model_load: error loading model: ..." begins with the name of a C function.
    const size_t colon = first_error.find(": ");
    const bool named = colon != std::string::npos && first_error.find(' ') > colon;
    return named ? first_error.substr(colon + 2) : first_error;
}

void Call::fail(const std::string & otherwise) const {
    if (no_memory) {
        throw OutOfMemory(error(otherwise));
    }
    throw std::runtime_error(error(otherwise));
}

void set_error(ll_error * err, int code, const char * text) {
    err->code = code;
    snprintf(err->text, sizeof err->text, "%s", text);
}

} // namespace lorikeet
