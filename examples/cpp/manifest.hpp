// Reader of bundle.json. The format is specified in docs/reference/bundle-format.md.
#pragma once
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "familiarity.hpp"
#include "json.hpp"
#include "sha256.hpp"
#include "text.hpp"

struct Variant {
    std::string target, precision, entry;
    std::vector<std::string> paths;
    std::optional<std::string> capability;  // arithmetic that the CPU must report
    bool without_fusion = false;
};

struct Bundle {
    std::vector<std::string> labels;
    int size_px = 0;
    double margin = 0, abstain_below = 0;
    double graph_temperature = 1;  // divides the logits in the graph
    double temperature = 1;  // of "recalibration": divides the logits once more, after the graph
    size_t embedding_dim = 0;
    Familiarity familiarity;
    std::string familiarity_path;
    std::vector<Variant> variants;
    std::map<std::string, std::string> files;  // content by path, hash compared
};

namespace bundle_reader {

inline bool safe_name(const std::string& name) {
    static const std::string signs = "._-";
    for (char c : name) {
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && signs.find(c) == std::string::npos) return false;
    }
    return !name.empty() && name.size() <= 101 && signs.find(name[0]) == std::string::npos;
}

struct Listed {
    std::string sha256;
    uintmax_t bytes;
};

// Add a listed file, and return its path.
inline std::string list_file(const Json& file, std::map<std::string, Listed>& listing) {
    const std::string& path = file["path"].as_text();
    size_t slash = path.find('/');
    if (slash == std::string::npos || !safe_name(path.substr(0, slash)) || !safe_name(path.substr(slash + 1))) {
        throw std::runtime_error("expected a path folder/name, got " + Json::quoted(path));
    }
    Listed listed{file["sha256"].as_text(), static_cast<uintmax_t>(file["bytes"].as_integer(0, 1LL << 31))};
    auto [known, is_new] = listing.emplace(path, listed);
    if (!is_new && (known->second.sha256 != listed.sha256 || known->second.bytes != listed.bytes)) {
        throw std::runtime_error(path + " is listed twice, with different hashes");
    }
    return path;
}

// Check a value of a variant's needs: keys and texts are lines.
inline void check_plain_value(const Json& value) {
    if (value.kind == Json::text) texts::check_line(value.value);
    for (const Json& item : value.items) check_plain_value(item);
    for (const auto& [key, member] : value.members) {
        texts::check_line(key);
        check_plain_value(member);
    }
}

inline Variant read_variant(const Json& item, std::map<std::string, Listed>& listing) {
    Variant variant{item["target"].as_text(), item["precision"].as_text(), item["entry"].as_text(), {}, {}, false};
    for (const Json& file : item["files"].as_list()) variant.paths.push_back(list_file(file, listing));
    bool starts_at_listed = false;
    for (const std::string& path : variant.paths) starts_at_listed |= path == variant.entry;
    for (const std::string& word : {variant.target, variant.precision}) {
        bool lower = !word.empty() && word.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789") == std::string::npos;
        if (!lower) throw std::runtime_error("expected a lower-case word, got " + Json::quoted(word));
    }
    if (!starts_at_listed) throw std::runtime_error("a variant starts at an unlisted file");
    const Json &needs = item["needs"], &batch = item["batch"];
    needs.as_object();
    check_plain_value(needs);
    if (needs.has("capability")) {
        const Json& capability = needs["capability"];  // no CPU has one that is no text
        variant.capability = capability.kind == Json::text ? capability.value : capability.canonical();
    }
    variant.without_fusion = needs.has("fusion") && needs["fusion"].canonical() == R"("off")";
    long long least = batch["min"].as_integer(1, 1 << 20);
    if (batch["max"].kind != Json::null) batch["max"].as_integer(least, 1 << 20);
    for (const auto& [library, version] : item["tools"].as_object()) {
        texts::check_line(library);
        texts::check_line(version.as_text());
    }
    // Of the records of measurements only the form: no answer depends on them.
    for (const char* record : {"parity", "speed"}) {
        if (item[record].kind != Json::null) item[record].as_object();
    }
    if (item.has("unproven") && (item["unproven"].as_text(), item.has("parity"))) {
        throw std::runtime_error("expected either parity or unproven, got both");
    }
    return variant;
}

inline Bundle read_manifest(const Json& content, std::map<std::string, Listed>& listing) {
    if (content["schema"].canonical() != "1") throw std::runtime_error("expected the bundle schema 1");
    if (content["manifest_sha256"].as_text() != sha256(content.canonical("manifest_sha256"))) {
        throw std::runtime_error("the content differs from its manifest_sha256");
    }
    Bundle bundle;
    for (const char* name : {"name", "version"}) texts::check_line(content[name].as_text(), 100);
    texts::check_day(content["created"].as_text());
    content["provenance"].as_object();
    bundle.graph_temperature = content["temperature"].as_number(1e-3, 1e3);
    bundle.labels = texts::read_labels(content["labels"]);
    const Json& crop = content["crop"];
    if (crop["kernel"].as_text() != "halve-bilinear") throw std::runtime_error("expected the kernel halve-bilinear");
    bundle.size_px = static_cast<int>(crop["size_px"].as_integer(8, 4096));
    bundle.margin = crop["margin"].as_number(0, 2);
    bundle.abstain_below = content["abstain_below"].as_number(0, 1);
    if (content.has("recalibration")) {
        bundle.temperature = content["recalibration"].with_keys({"temperature"})["temperature"].as_number(0.05, 20);
    }
    bundle.embedding_dim = static_cast<size_t>(content["embedding_dim"].as_integer(1, 1000000));
    std::string side = std::to_string(bundle.size_px);
    if (content["input"].canonical() != R"({"colour":"bgr","dtype":"uint8","layout":"NHWC","shape":[null,)" +
                                            side + "," + side + ",3]}") {
        throw std::runtime_error("expected the input uint8 [N, S, S, 3] BGR");
    }
    auto output = [](size_t width) { return R"({"dtype":"float32","shape":[null,)" + std::to_string(width) + "]}"; };
    if (content["outputs"].canonical() != R"({"embedding":)" + output(bundle.embedding_dim) +
                                              R"(,"probabilities":)" + output(bundle.labels.size()) + "}") {
        throw std::runtime_error("expected the outputs probabilities and embedding");
    }
    if (content.has("familiarity")) {
        const Json& record = content["familiarity"].with_keys(
            {"file", "components", "embedding_limit", "picture_limit", "false_refusals", "faces"});
        record["false_refusals"].as_number(0, 1);
        record["faces"].as_integer(1, 1LL << 53);
        bundle.familiarity_path = list_file(record["file"].with_keys({"path", "sha256", "bytes"}), listing);
        bundle.familiarity.components = static_cast<size_t>(record["components"].as_integer(1, 1024));
        bundle.familiarity.embedding_limit = record["embedding_limit"].as_number(0, 1e12);
        bundle.familiarity.picture_limit = record["picture_limit"].as_number(0, 1e12);
        if (bundle.size_px < Familiarity::side) throw std::runtime_error("expected an input of 32 px or more");
    }
    std::set<std::string> names;
    for (const Json& item : content["variants"].as_list()) {
        bundle.variants.push_back(read_variant(item, listing));
        names.insert(bundle.variants.back().target + "/" + bundle.variants.back().precision);
    }
    if (names.empty() || names.size() != bundle.variants.size()) {
        throw std::runtime_error("expected one or more different variants");
    }
    return bundle;
}
}  // namespace bundle_reader
