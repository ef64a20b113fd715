// Judge of faces unlike the training faces: fer_edge/familiarity.py in C++.
#pragma once
#include <array>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "face.hpp"

struct Familiarity {
    static constexpr int numbers = 7, side = 32, scales = 4;
    size_t components = 0;  // 0: the bundle has no statistics
    double embedding_limit = 0, picture_limit = 0;
    std::vector<double> values;  // the file: inverse noise, mean, components, picture mean, whitening

    static size_t count(size_t components, size_t dim) { return 1 + (1 + components) * dim + numbers * (1 + numbers); }

    // Read little-endian float32. Throws std::runtime_error.
    void read(const std::string& data, size_t dim) {
        if (data.size() != 4 * count(components, dim)) throw std::runtime_error("the statistics have another size");
        for (size_t i = 0; i < data.size(); i += 4) {
            uint32_t bits = 0;
            for (size_t k = 0; k < 4; ++k) bits |= uint32_t(uint8_t(data[i + k])) << (8 * k);
            float value;
            std::memcpy(&value, &bits, sizeof value);
            if (!std::isfinite(value)) throw std::runtime_error("expected finite numbers in the statistics");
            values.push_back(value);
        }
    }

    bool unfamiliar(const Image& face, const std::vector<float>& embedding) const {
        return components != 0 && (of_embedding(embedding) > embedding_limit || of_picture(face) > picture_limit);
    }

    // Squared distance under probabilistic PCA of the embedding, scaled to length 1.
    double of_embedding(const std::vector<float>& embedding) const {
        size_t dim = embedding.size();
        double length = 0, whole = 0, inside = 0;
        for (float value : embedding) length += double(value) * value;
        length = std::max(std::sqrt(length), 1e-12);
        std::vector<double> offsets(dim);
        for (size_t i = 0; i < dim; ++i) {
            offsets[i] = embedding[i] / length - values[1 + i];
            whole += offsets[i] * offsets[i];
        }
        for (size_t k = 0; k < components; ++k) {
            double along = 0;
            for (size_t i = 0; i < dim; ++i) along += offsets[i] * values[1 + (1 + k) * dim + i];
            inside += along * along;
        }
        return values[0] * whole - inside;
    }

    double of_picture(const Image& face) const {
        auto own = numbers_of(face);
        const double* mean = &values[values.size() - numbers * (1 + numbers)];
        const double* whitening = mean + numbers;
        double sum = 0;
        for (int row = 0; row < numbers; ++row) {
            double along = 0;
            for (int i = 0; i < numbers; ++i) along += whitening[row * numbers + i] * (own[i] - mean[i]);
            sum += along * along;
        }
        return sum;
    }

    static double variance(const std::vector<double>& level) {
        double mean = 0, sum = 0;
        for (double value : level) mean += value / double(level.size());
        for (double value : level) sum += (value - mean) * (value - mean);
        return sum / double(level.size());
    }

    // Contrast by scale, contrast, brightness and symmetry of the picture at 32x32 grey pixels.
    static std::array<double, numbers> numbers_of(const Image& face) {
        std::vector<double> picture(side * side);
        for (int row = 0; row < side; ++row) {
            for (int column = 0; column < side; ++column) {
                int top = row * face.height / side, bottom = (row + 1) * face.height / side;
                int left = column * face.width / side, right = (column + 1) * face.width / side;
                double sum = 0;
                for (int y = top; y < bottom; ++y) {
                    for (int x = left; x < right; ++x) sum += (face.at(x, y)[0] + face.at(x, y)[1] + face.at(x, y)[2]) / 3.0;
                }
                picture[size_t(row * side + column)] = sum / ((bottom - top) * (right - left));
            }
        }
        double mean = 0, mirrored = 0, whole = variance(picture) + 1, finer = whole - 1;
        for (double value : picture) mean += value / double(picture.size());
        for (int row = 0; row < side; ++row) {
            for (int x = 0; x < side; ++x) {
                mirrored += (picture[size_t(row * side + x)] - mean) * (picture[size_t(row * side + side - 1 - x)] - mean);
            }
        }
        std::array<double, numbers> own{};
        std::vector<double> level = picture;
        for (int scale = 0, width = side; scale < scales; ++scale, width /= 2) {
            std::vector<double> half;
            for (int y = 0; y < width; y += 2) {
                for (int x = 0; x < width; x += 2) {
                    size_t at = size_t(y * width + x);
                    half.push_back((level[at] + level[at + 1] + level[at + width] + level[at + width + 1]) / 4);
                }
            }
            double coarser = variance(half);
            own[size_t(scale)] = std::log(std::sqrt(std::max(finer - coarser, 0.0) / whole) + 1e-3);
            finer = coarser;
            level = std::move(half);
        }
        own[4] = std::log(whole) / 2;
        own[5] = mean / 64;
        own[6] = mirrored / double(picture.size()) / whole;
        return own;
    }
};
