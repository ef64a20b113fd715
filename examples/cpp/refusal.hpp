// Errors: a sentence for people, and the exit code that the command fer-edge has for it.
#pragma once
#include <stdexcept>
#include <string>

struct Refusal : std::runtime_error {
    int exit_code;
    Refusal(int code, const std::string& sentence) : std::runtime_error(sentence), exit_code(code) {}
};

constexpr int input_error = 3, bundle_error = 4, target_error = 5, engine_error = 6;
