// Checks of texts that people read, as fer_edge/json_check.py and fer_edge/labels.py have them.
#pragma once
#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "json.hpp"

namespace texts {

// Code points of UTF-8 that the JSON reader has checked.
inline std::vector<unsigned> code_points(const std::string& text) {
    std::vector<unsigned> codes;
    for (unsigned char byte : text) {
        if (byte < 0x80) codes.push_back(byte);
        else if (byte >= 0xc0) codes.push_back(byte & (byte < 0xe0 ? 0x1f : byte < 0xf0 ? 0x0f : 0x07));
        else codes.back() = codes.back() << 6 | (byte & 0x3f);
    }
    return codes;
}

// False for controls, spaces but U+0020, invisible marks, private use and noncharacters (Unicode 14).
inline bool printable(unsigned code) {
    static const unsigned hidden[][2] = {
        {0, 0x1f}, {0x7f, 0xa0}, {0xad, 0xad}, {0x600, 0x605}, {0x61c, 0x61c}, {0x6dd, 0x6dd}, {0x70f, 0x70f},
        {0x890, 0x891}, {0x8e2, 0x8e2}, {0x1680, 0x1680}, {0x180e, 0x180e}, {0x2000, 0x200f}, {0x2028, 0x202f},
        {0x205f, 0x206f}, {0x3000, 0x3000}, {0xe000, 0xf8ff}, {0xfdd0, 0xfdef}, {0xfeff, 0xfeff}, {0xfff9, 0xfffb},
        {0x110bd, 0x110bd}, {0x110cd, 0x110cd}, {0x13430, 0x1343f}, {0x1bca0, 0x1bca3}, {0x1d173, 0x1d17a},
        {0xe0001, 0xe0001}, {0xe0020, 0xe007f}, {0xf0000, 0x10ffff}};
    bool shown = (code & 0xfffe) != 0xfffe;
    for (auto [first, last] : hidden) shown &= code < first || code > last;
    return shown;
}

inline void check_line(const std::string& text, size_t most = 200) {
    auto codes = code_points(text);
    if (codes.size() > most || !std::all_of(codes.begin(), codes.end(), printable)) {
        throw std::runtime_error("expected at most " + std::to_string(most) + " printable characters, got " +
                                 Json::quoted(text.substr(0, 80)));
    }
}

// Check a day, YYYY-MM-DD, or an empty text.
inline void check_day(const std::string& text) {
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool good = text.size() == 10;
    for (size_t i = 0; good && i < 10; ++i) good = i == 4 || i == 7 ? text[i] == '-' : text[i] >= '0' && text[i] <= '9';
    if (good) {
        int year = std::stoi(text), month = std::stoi(text.substr(5)), day = std::stoi(text.substr(8));
        bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        good = year >= 1 && month >= 1 && month <= 12 && day >= 1;
        good = good && day <= days[month - 1] + (leap && month == 2);
    }
    if (!good && !text.empty()) throw std::runtime_error("expected a day like 2026-01-31, got " + Json::quoted(text));
}

// Return labels: one or more, different, in canonical spelling. Letters beyond ASCII are compared as they are.
inline std::vector<std::string> read_labels(const Json& list) {
    static const std::set<std::string> emotions = {"anger", "contempt", "disgust", "fear", "happiness", "neutral",
                                                   "sadness", "surprise"};
    static const std::set<std::string> spellings = {
        "angry", "mad", "contemptuous", "disgusted", "fearful", "afraid", "scared", "happy", "joy", "neutrality",
        "calm", "sad", "surprised"};
    std::vector<std::string> labels;
    std::set<std::string> different;
    for (const Json& item : list.as_list()) {
        const std::string& label = item.as_text();
        std::string lower = label;
        for (char& c : lower) c += c >= 'A' && c <= 'Z' ? 'a' - 'A' : 0;
        check_line(label, 64);
        if (label.empty() || label.front() == ' ' || label.back() == ' ') {
            throw std::runtime_error("expected labels of 1 to 64 characters without spaces around them");
        }
        if (spellings.count(lower) || (emotions.count(lower) && lower != label)) {
            throw std::runtime_error("expected the canonical name of an emotion, got " + Json::quoted(label));
        }
        if (!different.insert(lower).second) throw std::runtime_error("a label twice: " + Json::quoted(label));
        labels.push_back(label);
    }
    if (labels.empty()) throw std::runtime_error("expected at least one label");
    return labels;
}
}  // namespace texts
