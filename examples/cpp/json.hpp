// Strict JSON, and its canonical form, as fer_edge/manifest.py has them: UTF-8, no repeated key, no
// infinity, no half of a surrogate pair, at most 32 levels and 100,000 lists and objects.
#pragma once
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <initializer_list>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

struct Json {
    enum Kind { null, boolean, integer, real, text, list, object } kind = null;
    std::string value;  // a text, or the canonical form of a number or a word
    std::vector<Json> items;
    std::map<std::string, Json> members;  // sorted by code point: the order of UTF-8 bytes

    const Json& operator[](const std::string& key) const {
        auto found = members.find(key);
        if (kind != object || found == members.end()) {
            throw std::runtime_error("expected the key " + key + ", found none");
        }
        return found->second;
    }
    bool has(const std::string& key) const {  // null counts as missing
        auto found = members.find(key);
        return found != members.end() && found->second.kind != null;
    }
    const std::string& as_text() const { return expect(kind == text, "text").value; }
    const std::vector<Json>& as_list() const { return expect(kind == list, "a list").items; }
    const std::map<std::string, Json>& as_object() const { return expect(kind == object, "named values").members; }
    double as_number(double low, double high) const {
        expect(kind == integer || kind == real, "a number");
        double number = as_double(value);
        expect(number >= low && number <= high, "a number in its range");
        return number;
    }
    long long as_integer(long long low, long long high) const {
        long long number = 0;
        auto end = value.data() + value.size();
        bool read = kind == integer && std::from_chars(value.data(), end, number).ec == std::errc();
        expect(read && number >= low && number <= high, "an integer in its range");
        return number;
    }
    // Named values with these keys and no others.
    const Json& with_keys(std::initializer_list<const char*> keys) const {
        for (const char* key : keys) (*this)[key];
        expect(members.size() == keys.size(), "no unknown key");
        return *this;
    }
    // As Python's float: of a number that is too large, infinity; of one that is too small, 0.
    static double as_double(const std::string& digits) {
        double number = 0;
        auto read = std::from_chars(digits.data(), digits.data() + digits.size(), number);
        return read.ec == std::errc() ? number : std::strtod(digits.c_str(), nullptr);
    }
    std::string canonical(const char* without = nullptr) const {
        if (kind == text) return quoted(value);
        if (kind != list && kind != object) return value;
        std::string out;
        for (const Json& item : items) out += (out.empty() ? "" : ",") + item.canonical();
        for (const auto& [key, member] : members) {
            if (without && key == without) continue;
            out += (out.empty() ? "" : ",") + quoted(key) + ":" + member.canonical();
        }
        return kind == list ? "[" + out + "]" : "{" + out + "}";
    }
    static std::string quoted(const std::string& text) {
        static const std::string plain = "\b\f\n\r\t\"\\", letters = "bfnrt\"\\";
        std::string out = "\"";
        for (char c : text) {
            size_t place = plain.find(c);
            if (place != std::string::npos) (out += '\\') += letters[place];
            else if (static_cast<unsigned char>(c) >= 0x20) out += c;
            else ((out += "\\u00") += "01"[c >> 4]) += "0123456789abcdef"[c & 15];
        }
        return out + '"';
    }

   private:
    const Json& expect(bool is, const std::string& what) const {
        if (!is) throw std::runtime_error("expected " + what + ", got " + canonical().substr(0, 80));
        return *this;
    }
};

class JsonReader {
   public:
    static Json read(const std::string& data) {
        check_utf8(data);
        // As Python counts them: those inside of texts as well.
        if (std::count(data.begin(), data.end(), '[') + std::count(data.begin(), data.end(), '{') > 100000) {
            throw std::runtime_error("expected at most 100,000 lists and objects");
        }
        JsonReader reader(data);
        Json content = reader.value(0);
        if (reader.next() != '\0' || reader.at_ != data.size()) reader.fail("more after the content");
        return content;
    }

   private:
    explicit JsonReader(const std::string& data) : data_(data) {}

    [[noreturn]] void fail(const std::string& what) const {
        throw std::runtime_error(what + " at byte " + std::to_string(at_));
    }
    char peek() const { return at_ < data_.size() ? data_[at_] : '\0'; }
    char next() {  // the next character that is not a space
        while (at_ < data_.size() && std::string(" \t\r\n").find(data_[at_]) != std::string::npos) ++at_;
        return peek();
    }
    void take(char c) {
        if (next() != c) fail(std::string("expected ") + c);
        ++at_;
    }
    bool skip(char c) { return next() == c ? ++at_, true : false; }

    Json value(int depth) {
        Json out;
        char c = next();
        if (c == '[' || c == '{') {
            if (depth == 32) fail("expected at most 32 levels of lists and objects");
            out.kind = c == '[' ? Json::list : Json::object;
            char close = c == '[' ? ']' : '}';
            ++at_;
            if (skip(close)) return out;
            do {
                if (c == '[') {
                    out.items.push_back(value(depth + 1));
                    continue;
                }
                if (next() != '"') fail("expected a key");
                std::string key = text();
                take(':');
                if (!out.members.emplace(key, value(depth + 1)).second) fail("a repeated key");
            } while (skip(','));
            take(close);
        } else if (c == '"') {
            out.kind = Json::text;
            out.value = text();
        } else if (c == '-' || (c >= '0' && c <= '9')) {
            number(out);
        } else {
            for (const char* word : {"null", "true", "false"}) {
                if (data_.compare(at_, std::string(word).size(), word) == 0) out.value = word;
            }
            if (out.value.empty()) fail("expected a value");
            at_ += out.value.size();
            out.kind = out.value == "null" ? Json::null : Json::boolean;
        }
        return out;
    }

    void digits() {
        if (peek() < '0' || peek() > '9') fail("expected a digit");
        while (peek() >= '0' && peek() <= '9') ++at_;
    }
    void number(Json& out) {
        size_t start = at_;
        out.kind = Json::integer;
        if (peek() == '-') ++at_;
        peek() == '0' ? void(++at_) : digits();
        if (peek() == '.') ++at_, digits(), out.kind = Json::real;
        if (peek() == 'e' || peek() == 'E') {
            out.kind = Json::real;
            ++at_;
            if (peek() == '+' || peek() == '-') ++at_;
            digits();
        }
        out.value = data_.substr(start, at_ - start);
        if (out.kind == Json::integer) {
            // Python's limit: its time grows with the square of the digits.
            if (out.value.size() - (out.value[0] == '-') > 4300) fail("an integer of more than 4,300 digits");
            if (out.value == "-0") out.value = "0";
            return;
        }
        // As Python's repr: the shortest digits, fixed from 0.0001 to 1e16.
        double number = Json::as_double(out.value), size = std::fabs(number);
        if (!std::isfinite(number)) fail("a number out of range");
        bool fixed = number == 0 || (size >= 1e-4 && size < 1e16);
        char shown[64];
        auto written = std::to_chars(shown, shown + sizeof shown, number,
                                     fixed ? std::chars_format::fixed : std::chars_format::scientific);
        out.value.assign(shown, written.ptr);
        if (fixed && out.value.find('.') == std::string::npos) out.value += ".0";
    }

    unsigned unit() {  // four hexadecimal digits
        unsigned code = 0;
        for (int i = 0; i < 4; ++i, ++at_) {
            size_t digit = std::string("0123456789abcdef0123456789ABCDEF").find(peek());
            if (digit == std::string::npos) fail("expected a hexadecimal digit");
            code = code << 4 | (digit & 15);
        }
        return code;
    }
    std::string text() {
        std::string out;
        ++at_;
        while (peek() != '"') {
            if (static_cast<unsigned char>(peek()) < 0x20) fail("a text without its end");
            if (peek() != '\\') {
                out += data_[at_++];
                continue;
            }
            ++at_;
            size_t place = std::string("bfnrt\"\\/").find(peek());
            if (peek() != 'u') {
                if (peek() == '\0' || place == std::string::npos) fail("an unknown escape");
                out += "\b\f\n\r\t\"\\/"[place];
                ++at_;
                continue;
            }
            ++at_;
            unsigned code = unit();
            if (code >= 0xd800 && code < 0xdc00 && data_.compare(at_, 2, "\\u") == 0) {
                at_ += 2;
                unsigned low = unit();
                if (low < 0xdc00 || low > 0xdfff) fail("half a surrogate pair");
                code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
            }
            if (code >= 0xd800 && code <= 0xdfff) fail("half a surrogate pair");
            int more = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
            static const unsigned first[] = {0, 0xc0, 0xe0, 0xf0};
            out += static_cast<char>(first[more] | code >> 6 * more);
            while (more-- > 0) out += static_cast<char>(0x80 | (code >> 6 * more & 0x3f));
        }
        ++at_;
        return out;
    }

    static void check_utf8(const std::string& data) {
        static const unsigned least[] = {0, 0x80, 0x800, 0x10000};
        for (size_t i = 0; i < data.size();) {
            unsigned code = static_cast<unsigned char>(data[i++]);
            int more = code < 0x80 ? 0 : code >> 5 == 6 ? 1 : code >> 4 == 14 ? 2 : code >> 3 == 30 ? 3 : -1;
            bool good = more >= 0;
            if (more > 0) code &= 0x3fu >> more;
            for (int left = more; left > 0; --left) {
                unsigned byte = i < data.size() ? static_cast<unsigned char>(data[i++]) : 0;
                good &= byte >> 6 == 2;
                code = code << 6 | (byte & 0x3f);
            }
            if (!good || code < least[more] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) {
                throw std::runtime_error("expected UTF-8");
            }
        }
    }

    const std::string& data_;
    size_t at_ = 0;
};
