// Reader of a bundle: bundle.json, and its files with size and SHA-256. Nothing is used before it is checked.
#pragma once
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <set>
#include <string>

#include "manifest.hpp"
#include "refusal.hpp"
#include "sha256.hpp"

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

// Refuse links, devices, and files that are missing or not listed. Litter of file managers and editors is passed over.
inline void check_folder(const fs::path& root, const std::map<std::string, Listed>& listing) {
    static const std::regex litter(
        R"(\.DS_Store|\._.*|\.localized|Icon\r|\.AppleDouble|__MACOSX|\.Spotlight-V100|\.Trashes)"
        R"(|\.fseventsd|(eh)?thumbs\.db|desktop\.ini|\.directory|@eaDir|\.nfs[0-9a-f]+)"
        R"(|\.fuse_hidden[0-9a-f]+|\..+\.sw[a-z]|\.#.+|#.+#|.+~|lost\+found|\.(bundle|signatures)\.json\..+\.tmp)",
        std::regex::icase);
    size_t listed = 0;
    int entries = 0;
    for (auto entry = fs::recursive_directory_iterator(root); entry != fs::recursive_directory_iterator(); ++entry) {
        std::string path = entry->path().lexically_relative(root).generic_string();
        listed += listing.count(path);
        bool known = listing.count(path) || path == "bundle.json" || path == "signatures.json";
        fs::file_status status = entry->symlink_status();
        if (!known && std::regex_match(entry->path().filename().string(), litter)) {
            if (fs::is_directory(status)) entry.disable_recursion_pending();
        } else if (!fs::is_directory(status) && !(known && fs::is_regular_file(status))) {
            throw Refusal(bundle_error, root.string() + " holds " + Json::quoted(path) + ", which is not listed, or is "
                          "no plain file. Delete it, or copy the bundle again");
        } else if (++entries > 10000 || (fs::is_directory(status) && entry.depth() >= 8)) {
            throw Refusal(bundle_error, root.string() + " holds more than 10,000 files, or folders in folders. Copy "
                          "the bundle again");
        }
    }
    if (listed < listing.size()) throw Refusal(bundle_error, root.string() + " lacks a listed file. Copy it again");
}
}  // namespace bundle_reader

// Read a bundle and compare every listed file with its hash. Throws Refusal.
inline Bundle read_bundle(const std::string& folder) {
    using namespace bundle_reader;
    fs::path root(folder), manifest = root / "bundle.json";
    std::error_code failed;
    if (!fs::is_directory(root, failed)) {
        throw Refusal(bundle_error, "expected a bundle folder at " + folder + ", found none. Build one: fer-edge "
                                    "convert CHECKPOINT --target openvino -o NAME.fer");
    }
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
