#include "runtime/tokenizer/pieces.hpp"

#include <algorithm>
#include <utility>

#include "core/interrupt.hpp"
#include "runtime/tokenizer/error.hpp"
#include "runtime/tokenizer/utf8.hpp"

namespace evictlab::runtime {

void AlignedText::append(const AlignedText& other, std::size_t begin, std::size_t end) {
  const auto first = other.origin.begin();
  bytes.append(other.bytes, begin, end - begin);
  origin.insert(origin.end(), first + static_cast<std::ptrdiff_t>(begin), first + static_cast<std::ptrdiff_t>(end));
}

ByteRange AlignedText::origin_of(std::size_t begin, std::size_t end) const {
  ByteRange range = origin[begin];
  // Normalization may have reordered marks, so the first and last byte alone do not tell.
  for (std::size_t i = begin + 1; i < end; ++i) {
    range.begin = std::min(range.begin, origin[i].begin);
    range.end = std::max(range.end, origin[i].end);
  }
  return range;
}

void check_growth(std::size_t original, std::size_t now) {
  core::throw_if_interrupted();
  // A form of Unicode makes at most 11 bytes of one, the symbols of bytes are two.
  constexpr std::size_t kMostTimes = 256;
  constexpr std::size_t kAnyway = std::size_t{1} << 20U;
  if (now <= kAnyway || now / kMostTimes <= original) return;
  throw TokenizerError("the tokenizer's steps make more than {} bytes of a text of {}", now, original);
}

AlignedText align(std::string_view text) {
  AlignedText aligned;
  aligned.bytes = text;
  aligned.origin.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    core::throw_if_interrupted();
    const std::size_t size = code_point_at(text, at).size;
    aligned.origin.insert(aligned.origin.end(), size, ByteRange{at, at + size});
    at += size;
  }
  return aligned;
}

void split_pieces(PiecedText& pieced, const std::function<void(std::string_view, std::vector<Piece>&)>& split) {
  std::vector<Piece> result;
  result.reserve(pieced.pieces.size());
  std::vector<Piece> parts;
  for (const Piece& piece : pieced.pieces) {
    core::throw_if_interrupted();
    if (piece.token != kNoToken) {
      result.push_back(piece);
      continue;
    }
    parts.clear();
    split(pieced.bytes(piece), parts);
    for (const Piece& part : parts) {
      if (part.begin < part.end) result.push_back({piece.begin + part.begin, piece.begin + part.end, part.token});
    }
  }
  pieced.pieces = std::move(result);
}

void rewrite_pieces(PiecedText& pieced,
                    const std::function<void(const AlignedText&, const Piece&, AlignedText&)>& rewrite) {
  PiecedText result;
  result.text.bytes.reserve(pieced.text.bytes.size());
  result.text.origin.reserve(pieced.text.bytes.size());
  result.pieces.reserve(pieced.pieces.size());
  for (const Piece& piece : pieced.pieces) {
    const std::size_t begin = result.text.bytes.size();
    if (piece.token != kNoToken) {
      result.text.append(pieced.text, piece.begin, piece.end);
    } else {
      rewrite(pieced.text, piece, result.text);
    }
    const std::size_t end = result.text.bytes.size();
    check_growth(pieced.text.original_bytes(), end);
    if (begin < end) result.pieces.push_back({begin, end, piece.token});
  }
  pieced = std::move(result);
}

}  // namespace evictlab::runtime
