// The crop rule, as fer_edge/preprocess.py applies it: the same bytes as OpenCV's cv2.resize.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "refusal.hpp"

constexpr int min_side_px = 8, max_side_px = 16384;
constexpr double max_pixels = 64e6;

struct Image {  // BGR, row by row
    int width = 0, height = 0;
    std::vector<uint8_t> pixels;
    Image(int w, int h) : width(w), height(h), pixels(size_t(w) * h * 3) {}
    uint8_t* at(int x, int y) { return &pixels[(size_t(y) * width + x) * 3]; }
    const uint8_t* at(int x, int y) const { return &pixels[(size_t(y) * width + x) * 3]; }
};

// Read a binary PGM (P5) or PPM (P6) with 8 bits a channel.
inline Image read_image(const std::string& path) {
    std::error_code failed;
    bool plain = std::filesystem::is_regular_file(path, failed);  // of a pipe, the program would wait
    std::ifstream in(plain ? path : "", std::ios::binary);
    std::string magic;
    long header[3] = {0, 0, 0};  // width, height, largest value
    if (!in.read(&magic.assign(2, ' ')[0], 2)) {
        throw Refusal(input_error, "cannot read image " + path + ". Check the path");
    }
    bool read = magic == "P5" || magic == "P6";
    for (int i = 0; read && i < 3; ++i) {
        while (in >> std::ws && in.peek() == '#') in.ignore(1 << 20, '\n');
        read = bool(in >> header[i]);
    }
    if (!read || header[2] != 255) {
        throw Refusal(input_error, "expected " + path + " to be a binary PGM or PPM with 8 bits a channel. "
                                   "Convert it: convert FACE.png FACE.ppm");
    }
    in.get();
    auto [w, h] = std::pair(header[0], header[1]);
    std::string size = std::to_string(w) + "x" + std::to_string(h);
    if (std::min(w, h) < min_side_px) {
        throw Refusal(input_error, "expected a face of at least 8x8 pixels, got " + size);
    }
    if (std::max(w, h) > max_side_px || double(w) * double(h) > max_pixels) {
        throw Refusal(input_error, "expected at most 16384 pixels a side and 64,000,000 in all, got " + size);
    }
    Image image{int(w), int(h)};
    int channels = magic == "P6" ? 3 : 1;
    std::vector<char> row(size_t(w) * channels);
    for (int y = 0; y < h; ++y) {
        if (!in.read(row.data(), std::streamsize(row.size()))) {
            throw Refusal(input_error, path + " is truncated: expected " + size + " pixels");
        }
        for (int x = 0; x < w; ++x) {  // RGB, or grey, to BGR
            for (int c = 0; c < 3; ++c) {
                image.at(x, y)[c] = static_cast<uint8_t>(row[channels == 3 ? size_t(3 * x + 2 - c) : size_t(x)]);
            }
        }
    }
    return image;
}

struct Box { double x, y, width, height; };

// Cut the square with a margin around a box. Pixels outside the image repeat its edge.
inline Image crop(const Image& image, const Box& box, double margin) {
    double longer = std::max(box.width, box.height), side = longer * (1 + 2 * margin);
    bool finite = true;
    for (double v : {box.x, box.y, box.width, box.height}) finite &= std::abs(v) <= 4 * max_side_px;
    // nearbyint rounds halves to even, as Python's round does.
    int left = finite ? int(std::nearbyint(box.x + box.width / 2 - side / 2)) : 0;
    int top = finite ? int(std::nearbyint(box.y + box.height / 2 - side / 2)) : 0;
    int size = finite ? std::max(int(std::nearbyint(side)), 1) : 0;
    bool inside = finite && box.width >= 1 && box.height >= 1 && box.x < image.width && box.y < image.height &&
                  box.x + box.width > 0 && box.y + box.height > 0 && left < image.width && top < image.height &&
                  left + size > 0 && top + size > 0;
    if (!inside || longer < min_side_px || side * side > max_pixels) {
        throw Refusal(input_error, "expected a box X Y W H of at least 8 pixels a side inside the image");
    }
    Image face(size, size);
    for (int y = 0; y < size; ++y) {
        for (int x = 0; x < size; ++x) {
            int from_x = std::clamp(left + x, 0, image.width - 1), from_y = std::clamp(top + y, 0, image.height - 1);
            std::copy_n(image.at(from_x, from_y), 3, face.at(x, y));
        }
    }
    return face;
}

struct Tap { int first, second, weight_first, weight_second; };  // weights in 1/2048

// Source pixels of each output pixel. At an edge, OpenCV moves the weights of columns, not of rows.
inline std::vector<Tap> taps(int from, int to, bool columns) {
    std::vector<Tap> out;
    double scale = 1.0 / (double(to) / from);
    for (int i = 0; i < to; ++i) {
        float place = float((i + 0.5) * scale - 0.5);
        int first = int(std::floor(place));
        float share = place - float(first);
        if (columns && (first < 0 || first >= from - 1)) share = 0;
        if (columns) first = std::clamp(first, 0, from - 1);
        out.push_back({std::clamp(first, 0, from - 1), std::clamp(first + 1, 0, from - 1),
                       int(std::nearbyint((1 - share) * 2048)), int(std::nearbyint(share * 2048))});
    }
    return out;
}

// cv2.resize with INTER_LINEAR of the upper left from_width x from_height pixels of an image.
inline Image resize(const Image& image, int from_width, int from_height, int width, int height) {
    Image out(width, height);
    if (from_width == 2 * width && from_height == 2 * height) {  // here INTER_LINEAR is the mean of 2x2
        for (int y = 0; y < height; ++y) {
            for (int x = 0; x < width; ++x) {
                const uint8_t *upper = image.at(2 * x, 2 * y), *lower = image.at(2 * x, 2 * y + 1);
                for (int c = 0; c < 3; ++c) {
                    out.at(x, y)[c] = uint8_t((upper[c] + upper[c + 3] + lower[c] + lower[c + 3] + 2) >> 2);
                }
            }
        }
        return out;
    }
    std::vector<Tap> columns = taps(from_width, width, true), rows = taps(from_height, height, false);
    auto along = [&](int row, int x, int c) {
        const Tap& tap = columns[size_t(x)];
        return (image.at(tap.first, row)[c] * tap.weight_first + image.at(tap.second, row)[c] * tap.weight_second) >> 4;
    };
    for (int y = 0; y < height; ++y) {
        const Tap& tap = rows[size_t(y)];
        for (int x = 0; x < width; ++x) {
            for (int c = 0; c < 3; ++c) {
                int upper = along(tap.first, x, c) * tap.weight_first >> 16;
                int lower = along(tap.second, x, c) * tap.weight_second >> 16;
                out.at(x, y)[c] = uint8_t(std::clamp((upper + lower + 2) >> 2, 0, 255));
            }
        }
    }
    return out;
}

// The kernel halve-bilinear: halve each side while it is at least twice too long, then fit.
inline Image fit(Image face, int size) {
    int width = face.width, height = face.height;
    while (height >= 2 * size || width >= 2 * size) {
        int by_x = 1 + (width >= 2 * size), by_y = 1 + (height >= 2 * size);
        width /= by_x, height /= by_y;
        face = resize(face, width * by_x, height * by_y, width, height);  // an odd last row is cut off
    }
    return width == size && height == size ? face : resize(face, width, height, size, size);
}

// True if every 4th row of a face is almost flat: dark, saturated or covered.
inline bool flat(const Image& face) {
    for (int c = 0; c < 3; ++c) {
        double sum = 0, squares = 0, count = 0;
        for (int y = 0; y < face.height; y += 4) {
            for (int x = 0; x < face.width; ++x, ++count) {
                double value = face.at(x, y)[c];
                sum += value, squares += value * value;
            }
        }
        if (std::sqrt(std::max(squares / count - sum / count * (sum / count), 0.0)) >= 4.0) return false;
    }
    return true;
}
