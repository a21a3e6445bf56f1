#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace evictlab::runtime {

/// Bytes [begin, end) of a text.
struct ByteRange {
  std::size_t begin = 0;
  std::size_t end = 0;
  friend bool operator==(ByteRange, ByteRange) = default;
};

/// Text on its way to the model. Normalizers and pre-tokenizers rewrite it; each byte remembers which
/// characters of the original text it came from.
struct AlignedText {
  std::string bytes;              // well-formed UTF-8
  std::vector<ByteRange> origin;  // [bytes] whole characters of the original text

  void append(std::string_view text, ByteRange from) {
    bytes += text;
    origin.insert(origin.end(), text.size(), from);
  }
  /// Bytes [begin, end) of `other`, with where they came from.
  void append(const AlignedText& other, std::size_t begin, std::size_t end);
  /// How many bytes of the original text this came from, from its start on.
  std::size_t original_bytes() const { return origin.empty() ? 0 : origin.back().end; }
  /// Where bytes [begin, end), begin < end, came from: the smallest range that holds all of it.
  ByteRange origin_of(std::size_t begin, std::size_t end) const;
};

/// The text as read, each character its own origin. It must be well-formed and shorter than 2^32 bytes.
AlignedText align(std::string_view text);

constexpr std::int32_t kNoToken = -1;

/// Bytes [begin, end) of an AlignedText, never empty: an added token, or text the model tokenizes on its own.
struct Piece {
  std::size_t begin = 0;
  std::size_t end = 0;
  std::int32_t token = kNoToken;
};

/// Throws TokenizerError when `now` bytes are more than sound steps of a tokenizer make of `original` ones: thousands
/// of steps that each double the text would fill any memory. Throws core::Interrupted when a signal has come.
void check_growth(std::size_t original, std::size_t now);

struct PiecedText {
  AlignedText text;
  std::vector<Piece> pieces;  // ascending

  std::string_view bytes(const Piece& piece) const {
    return std::string_view(text.bytes).substr(piece.begin, piece.end - piece.begin);
  }
};

/// Replaces each piece that is no added token by the non-empty ones of the pieces that `split` appends
/// for it; their offsets count from the start of the piece it was given.
void split_pieces(PiecedText& pieced, const std::function<void(std::string_view, std::vector<Piece>&)>& split);

/// Rewrites the bytes of each piece that is no added token: `rewrite(in, piece, out)` appends the new
/// bytes of `piece` of `in` to `out`. Throws like check_growth().
void rewrite_pieces(PiecedText& pieced,
                    const std::function<void(const AlignedText&, const Piece&, AlignedText&)>& rewrite);

}  // namespace evictlab::runtime
