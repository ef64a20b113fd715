// Recognise the expression of face crops with a bundle, without Python.
//
//     fer_predict BUNDLE.fer [--precision fp32] [--box X Y W H] FACE.ppm...
//
// It prints one line of JSON for each image, with the keys of Prediction.as_dict() and the SHA-256
// of the network's input. Exit codes are those of fer-edge: 2 usage, 3 image, 4 bundle, 5 no variant
// that runs here, 6 engine.
#include <cstdio>
#include <cstring>
#include <iostream>
#include <numeric>
#include <openvino/openvino.hpp>
#include <optional>

#include "bundle.hpp"
#include "face.hpp"

struct Request {
    std::string bundle, precision = "fp32";
    std::optional<Box> box;
    std::vector<std::string> images;
};

bool ends_with(const std::string& text, const std::string& end) {
    return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

const Variant& choose(const Bundle& bundle, const std::string& precision) {
    std::string names;
    for (const Variant& variant : bundle.variants) {
        if (variant.target == "openvino" && variant.precision == precision) return variant;
        names += (names.empty() ? "" : ", ") + variant.target + "/" + variant.precision;
    }
    throw Refusal(target_error, "the bundle has no variant openvino/" + precision + ". It has " + names);
}

// Compare the bundle's facts with those that the exporter wrote into an ONNX graph, if it did.
void check_contract(const ov::Model& network, const Bundle& bundle) {
    if (!network.has_rt_info("framework", "fer_edge")) return;
    std::string labels;
    for (const std::string& label : bundle.labels) labels += (labels.empty() ? "" : ",") + Json::quoted(label);
    std::map<std::string, double> numbers = {{"temperature", bundle.graph_temperature},
                                             {"size_px", bundle.size_px},
                                             {"embedding_dim", static_cast<double>(bundle.embedding_dim)}};
    bool same = false;
    try {
        Json exported = JsonReader::read(network.get_rt_info<std::string>("framework", "fer_edge"));
        same = !exported.as_object().count("labels") || exported["labels"].canonical() == "[" + labels + "]";
        for (const auto& [key, number] : numbers) {
            if (exported.members.count(key)) exported[key].as_number(number, number);
        }
    } catch (const std::exception&) {
        same = false;
    }
    if (!same) {
        throw Refusal(bundle_error, "the graph was exported with other labels, temperature or sizes than the bundle "
                                    "states. Get the bundle again, or convert it again with fer-edge convert");
    }
}

ov::CompiledModel load(ov::Core& core, const Bundle& bundle, const Variant& variant) {
    // Without this hint, OpenVINO computes fp32 in bf16 on CPUs that have it.
    static const std::map<std::string, ov::element::Type> arithmetic = {
        {"fp32", ov::element::f32}, {"int8", ov::element::f32},
        {"bf16", ov::element::bf16}, {"fp16", ov::element::f16}};
    auto type = arithmetic.find(variant.precision);
    auto offered = core.get_property("CPU", ov::device::capabilities);
    bool able = !variant.capability || std::count(offered.begin(), offered.end(), *variant.capability);
    if (type == arithmetic.end() || !able) {
        throw Refusal(target_error, "this CPU cannot run openvino/" + variant.precision + ". Choose --precision fp32");
    }
    bool onnx = ends_with(variant.entry, ".onnx");
    if (!onnx && !ends_with(variant.entry, ".xml")) {
        throw Refusal(bundle_error, "expected the model of openvino in .onnx or .xml, got " + variant.entry +
                                    ". Convert the checkpoint again with fer-edge convert");
    }
    ov::Tensor weights;
    for (const std::string& path : variant.paths) {
        const std::string& data = bundle.files.at(path);
        if (weights || !ends_with(path, ".bin")) continue;
        weights = ov::Tensor(ov::element::u8, {data.size()});
        std::memcpy(weights.data(), data.data(), data.size());
    }
    auto network = core.read_model(bundle.files.at(variant.entry), weights);  // the bytes that were hashed
    if (onnx) check_contract(*network, bundle);
    size_t side = static_cast<size_t>(bundle.size_px);
    ov::PartialShape input{-1, bundle.size_px, bundle.size_px, 3};
    if (!network->input().get_partial_shape().compatible(input) || network->outputs().size() != 2) {
        throw Refusal(engine_error, "the network has another input or other outputs than the bundle states. Convert "
                                    "the checkpoint again");
    }
    network->reshape(ov::PartialShape(ov::Shape{1, side, side, 3}));
    ov::AnyMap settings{{ov::hint::inference_precision(type->second)},
                        {ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY)}};
    if (variant.without_fusion) settings["SNIPPETS_MODE"] = "DISABLE";
    ov::CompiledModel model = core.compile_model(network, "CPU", settings);
    if (model.get_property(ov::hint::inference_precision) != type->second) {  // bf16 for fp16, without a word
        throw Refusal(target_error, "this CPU would compute openvino/" + variant.precision + " in another precision. "
                                    "Choose --precision fp32");
    }
    return model;
}

// Return the softmax at another temperature: the logits are not needed.
std::vector<float> recalibrated(std::vector<float> shares, double temperature) {
    if (temperature == 1) return shares;
    double largest = *std::max_element(shares.begin(), shares.end()), sum = 0;
    std::vector<double> powers;
    for (float share : shares) powers.push_back(std::pow(std::max<double>(share, 0) / largest, 1 / temperature));
    for (double power : powers) sum += power;
    for (size_t i = 0; i < shares.size(); ++i) shares[i] = static_cast<float>(powers[i] / sum);
    return shares;
}

struct Answer {
    std::vector<float> shares;
    bool unfamiliar = false;
};

const std::string another = "Choose another variant: fer_predict BUNDLE.fer --precision PRECISION FACE.ppm";

// Return an output of one face. Refuse another form, and numbers that are not finite.
std::vector<float> row(const ov::Tensor& output, size_t width, const std::string& name) {
    if (output.get_element_type() != ov::element::f32 || output.get_shape() != ov::Shape{1, width}) {
        throw Refusal(engine_error, "the network returned no " + std::to_string(width) + " numbers as " + name +
                                    ". Convert the checkpoint again");
    }
    std::vector<float> values(output.data<float>(), output.data<float>() + width);
    if (!std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); })) {
        throw Refusal(engine_error, "the network returned " + name + " with values that are no numbers. " + another);
    }
    return values;
}

Answer run(ov::InferRequest& request, const Bundle& bundle, Image& face) {
    size_t side = static_cast<size_t>(bundle.size_px);
    request.set_input_tensor(ov::Tensor(ov::element::u8, {1, side, side, 3}, face.pixels.data()));
    request.infer();
    auto shares = row(request.get_output_tensor(0), bundle.labels.size(), "probabilities");
    auto embedding = row(request.get_output_tensor(1), bundle.embedding_dim, "an embedding");
    float sum = std::accumulate(shares.begin(), shares.end(), 0.0f);
    // The limits of fer_edge/inference.py: half precision is off by 0.002.
    if (*std::min_element(shares.begin(), shares.end()) < -1e-3f || std::abs(sum - 1) > 0.02f) {
        throw Refusal(engine_error, "the network returned probabilities that do not add up to 1. " + another);
    }
    return {recalibrated(shares, bundle.temperature), bundle.familiarity.unfamiliar(face, embedding)};
}

void print(const Bundle& bundle, const Image& face, const Answer& answer) {
    const std::vector<float>& shares = answer.shares;
    auto decimal = [](const char* format, double value) {
        char text[32];
        std::snprintf(text, sizeof text, format, value);
        return std::string(text);
    };
    size_t top = size_t(std::max_element(shares.begin(), shares.end()) - shares.begin());
    std::string reason;
    if (flat(face)) {
        reason = "no contrast: the picture is dark, saturated or covered";
    } else if (answer.unfamiliar) {
        reason = "unlike the faces it was trained on";
    } else if (shares[top] < bundle.abstain_below - 1e-6) {
        reason = "the model is unsure: confidence " + decimal("%.2f", shares[top]) + " is below " +
                 decimal("%.2f", bundle.abstain_below);
    }
    std::string rows;
    for (size_t i = 0; i < shares.size(); ++i) {
        rows += (i ? ", " : "") + Json::quoted(bundle.labels[i]) + ": " + decimal("%.9g", shares[i]);
    }
    std::cout << "{\"label\": " << Json::quoted(bundle.labels[top])
              << ", \"confidence\": " << decimal("%.9g", shares[top]) << ", \"probabilities\": {" << rows << "}, \"uncertain\": " << (reason.empty() ? "false" : "true")
              << ", \"reason\": " << (reason.empty() ? "null" : Json::quoted(reason)) << ", \"input_sha256\": \""
              << sha256(std::string(face.pixels.begin(), face.pixels.end())) << "\"}" << std::endl;
}

std::optional<Request> parse(const std::vector<std::string>& words) {
    Request request;
    for (size_t i = 0; i < words.size(); ++i) {
        if (words[i] == "--precision" && i + 1 < words.size()) {
            request.precision = words[++i];
        } else if (words[i] == "--box" && i + 4 < words.size()) {
            double sides[4];
            for (double& side : sides) {
                char* end = nullptr;
                side = std::strtod(words[++i].c_str(), &end);
                if (words[i].empty() || *end != '\0') return std::nullopt;
            }
            request.box = Box{sides[0], sides[1], sides[2], sides[3]};
        } else if (words[i].rfind("--", 0) == 0) {
            return std::nullopt;
        } else if (request.bundle.empty()) {
            request.bundle = words[i];
        } else {
            request.images.push_back(words[i]);
        }
    }
    if (request.images.empty()) return std::nullopt;
    return request;
}

int main(int count, char** words) try {
    auto request = parse({words + 1, words + count});
    if (!request) {
        std::cerr << "usage: fer_predict BUNDLE.fer [--precision fp32] [--box X Y W H] FACE.ppm...\n";
        return 2;
    }
    Bundle bundle = read_bundle(request->bundle);
    ov::Core core;
    ov::CompiledModel model = load(core, bundle, choose(bundle, request->precision));
    ov::InferRequest engine = model.create_infer_request();
    for (const std::string& path : request->images) {
        Image image = read_image(path);
        Image face = fit(request->box ? crop(image, *request->box, bundle.margin) : std::move(image), bundle.size_px);
        print(bundle, face, run(engine, bundle, face));
    }
    return 0;
} catch (const Refusal& refusal) {
    std::cerr << "fer_predict: " << refusal.what() << "\n";
    return refusal.exit_code;
} catch (const std::exception& error) {
    std::cerr << "fer_predict: OpenVINO failed: " << error.what() << "\n";
    return engine_error;
}
