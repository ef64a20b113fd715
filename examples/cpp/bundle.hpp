// Reader of a bundle: bundle.json, and its files with size and SHA-256. The format is specified in
// docs/reference/bundle-format.md. Nothing is used before it is checked.
#pragma once
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "familiarity.hpp"
#include "json.hpp"
#include "refusal.hpp"
#include "sha256.hpp"

struct Variant {
    std::string target, precision, entry;
    std::vector<std::string> paths;
    std::string capability;  // arithmetic that the CPU must report; may be empty
    bool without_fusion = false;
};

struct Bundle {
    std::vector<std::string> labels;
    int size_px = 0;
    double margin = 0, abstain_below = 0;
    double temperature = 1;  // of "recalibration": divides the logits once more, after the graph
    size_t embedding_dim = 0;
    Familiarity familiarity;
    std::string familiarity_path;
    std::vector<Variant> variants;
    std::map<std::string, std::string> files;  // content by path, hash compared
};

namespace bundle_reader {
namespace fs = std::filesystem;

inline std::string read_file(const fs::path& path, uintmax_t most) {
    std::error_code failed;
    // symlink_status: a link can lead out of the bundle.
    if (!fs::is_regular_file(fs::symlink_status(path, failed)) || fs::file_size(path, failed) > most) {
        throw Refusal(bundle_error, path.string() + " is missing, is not a plain file, or is too large. "
                                    "Copy the bundle again from where it was built");
    }
    std::ifstream in(path, std::ios::binary);
    std::string data{std::istreambuf_iterator<char>(in), {}};
    if (!in) throw Refusal(bundle_error, "cannot read " + path.string());
    return data;
}

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

// Refuse links, devices, and files that are not listed. Litter of file managers and editors is passed over.
inline void check_folder(const fs::path& root, const std::map<std::string, Listed>& listing) {
    static const std::regex litter(
        R"(\.DS_Store|\._.*|\.localized|Icon\r|\.AppleDouble|__MACOSX|\.Spotlight-V100|\.Trashes)"
        R"(|\.fseventsd|(eh)?thumbs\.db|desktop\.ini|\.directory|@eaDir|\.nfs[0-9a-f]+)"
        R"(|\.fuse_hidden[0-9a-f]+|\..+\.sw[a-z]|\.#.+|#.+#|.+~|lost\+found|\.(bundle|signatures)\.json\..+\.tmp)",
        std::regex::icase);
    for (auto entry = fs::recursive_directory_iterator(root); entry != fs::recursive_directory_iterator(); ++entry) {
        std::string path = entry->path().lexically_relative(root).generic_string();
        bool known = listing.count(path) || path == "bundle.json" || path == "signatures.json";
        fs::file_status status = entry->symlink_status();
        if (!known && std::regex_match(entry->path().filename().string(), litter)) {
            if (fs::is_directory(status)) entry.disable_recursion_pending();
        } else if (!fs::is_directory(status) && !(known && fs::is_regular_file(status))) {
            throw Refusal(bundle_error, root.string() + " holds " + Json::quoted(path) + ", which is not listed, or is "
                          "no plain file. Delete it, or copy the bundle again");
        }
    }
}

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

inline Variant read_variant(const Json& item, std::map<std::string, Listed>& listing) {
    Variant variant{item["target"].as_text(), item["precision"].as_text(), item["entry"].as_text(), {}, "", false};
    for (const Json& file : item["files"].as_list()) variant.paths.push_back(list_file(file, listing));
    bool starts_at_listed = false;
    for (const std::string& path : variant.paths) starts_at_listed |= path == variant.entry;
    for (const std::string& word : {variant.target, variant.precision}) {
        bool lower = !word.empty() && word.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789") == std::string::npos;
        if (!lower) throw std::runtime_error("expected a lower-case word, got " + Json::quoted(word));
    }
    if (!starts_at_listed) throw std::runtime_error("a variant starts at an unlisted file");
    const Json& needs = item["needs"];
    if (needs.has("capability")) variant.capability = needs["capability"].as_text();
    variant.without_fusion = needs.has("fusion") && needs["fusion"].as_text() == "off";
    return variant;
}

inline Bundle read_manifest(const Json& content, std::map<std::string, Listed>& listing) {
    if (content["schema"].canonical() != "1") throw std::runtime_error("expected the bundle schema 1");
    if (content["manifest_sha256"].as_text() != sha256(content.canonical("manifest_sha256"))) {
        throw std::runtime_error("the content differs from its manifest_sha256");
    }
    Bundle bundle;
    std::set<std::string> different;
    for (const Json& label : content["labels"].as_list()) {
        bundle.labels.push_back(label.as_text());
        different.insert(label.as_text());
    }
    if (bundle.labels.empty() || different.size() != bundle.labels.size()) {
        throw std::runtime_error("expected different labels");
    }
    const Json& crop = content["crop"];
    if (crop["kernel"].as_text() != "halve-bilinear") throw std::runtime_error("expected the kernel halve-bilinear");
    bundle.size_px = static_cast<int>(crop["size_px"].as_integer(8, 4096));
    bundle.margin = crop["margin"].as_number(0, 2);
    bundle.abstain_below = content["abstain_below"].as_number(0, 1);
    if (content.has("recalibration")) bundle.temperature = content["recalibration"]["temperature"].as_number(0.05, 20);
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
        const Json& record = content["familiarity"];
        bundle.familiarity_path = list_file(record["file"], listing);
        bundle.familiarity.components = static_cast<size_t>(record["components"].as_integer(1, 1024));
        bundle.familiarity.embedding_limit = record["embedding_limit"].as_number(0, 1e12);
        bundle.familiarity.picture_limit = record["picture_limit"].as_number(0, 1e12);
        if (bundle.size_px < Familiarity::side) throw std::runtime_error("expected an input of 32 px or more");
    }
    for (const Json& item : content["variants"].as_list()) bundle.variants.push_back(read_variant(item, listing));
    return bundle;
}
}  // namespace bundle_reader

// Read a bundle and compare every listed file with its hash. Throws Refusal.
inline Bundle read_bundle(const std::string& folder) {
    using namespace bundle_reader;
    fs::path root(folder), manifest = root / "bundle.json";
    if (!fs::is_directory(root)) throw Refusal(bundle_error, "expected a bundle folder at " + folder + ", found none");
    try {
        std::map<std::string, Listed> listing;
        Bundle bundle = read_manifest(JsonReader::read(read_file(manifest, 4 << 20)), listing);
        check_folder(root, listing);
        for (const auto& [path, listed] : listing) {
            std::string data = read_file(root / path, 1ull << 31);
            if (data.size() != listed.bytes || sha256(data) != listed.sha256) {
                throw Refusal(bundle_error, (root / path).string() + " is not the file that the bundle lists (size or "
                              "SHA-256 differs). Copy the bundle again from where it was built");
            }
            bundle.files.emplace(path, std::move(data));
        }
        if (!bundle.familiarity_path.empty()) {
            bundle.familiarity.read(bundle.files.at(bundle.familiarity_path), bundle.embedding_dim);
        }
        return bundle;
    } catch (const Refusal&) {
        throw;
    } catch (const std::exception& error) {
        throw Refusal(bundle_error, manifest.string() + " is damaged: " + error.what() + ". Copy the bundle again");
    }
}
