#include "trace/io/hdf5/types.hpp"

#include <hdf5.h>

#include <array>
#include <stdexcept>
#include <utility>

#include "trace/io/hdf5/text_heap.hpp"

namespace evictlab::trace::hdf5 {

std::string_view type_name(Type type) {
  constexpr std::array kNames{"float16", "float32", "float64", "int8",    "int16", "int32", "int64", "uint8",
                              "uint16",  "uint32",  "uint64",  "boolean", "text",  "table", "other"};
  return kNames.at(static_cast<std::size_t>(type));
}

namespace {

// The numbers that HDF5 has a datatype for; its identifiers are made when it starts, so they are no constants.
std::array<std::pair<Type, hid_t>, 10> standard_numbers() {
  return {{{Type::kFloat32, H5T_IEEE_F32LE},
           {Type::kFloat64, H5T_IEEE_F64LE},
           {Type::kInt8, H5T_STD_I8LE},
           {Type::kInt16, H5T_STD_I16LE},
           {Type::kInt32, H5T_STD_I32LE},
           {Type::kInt64, H5T_STD_I64LE},
           {Type::kUint8, H5T_STD_U8LE},
           {Type::kUint16, H5T_STD_U16LE},
           {Type::kUint32, H5T_STD_U32LE},
           {Type::kUint64, H5T_STD_U64LE}}};
}

Handle half_type() {
  Handle type(H5Tcopy(H5T_IEEE_F32LE), H5Tclose);
  H5Tset_fields(type.get(), 15, 10, 5, 0, 10);
  H5Tset_size(type.get(), 2);
  H5Tset_ebias(type.get(), 15);
  return type;
}

// HDF5 stores a text of variable length as a reference into a heap, and crashes on a heap that is damaged
// (1.10). A conversion to this type gets the reference as it is stored; TextHeaps follows it.
herr_t keep_reference(hid_t source, hid_t target, H5T_cdata_t* data, std::size_t, std::size_t, std::size_t, void*,
                      void*, hid_t) {
  if (data->command != H5T_CONV_INIT) return 0;
  data->need_bkg = H5T_BKG_NO;
  const bool ours = H5Tis_variable_str(source) > 0 && H5Tget_size(target) == sizeof(TextReference);
  return ours ? 0 : -1;
}

}  // namespace

Handle stored_type(Type type) {
  if (type == Type::kFloat16) return half_type();
  for (const auto& [number, datatype] : standard_numbers()) {
    if (number == type) return {H5Tcopy(datatype), H5Tclose};
  }
  throw std::invalid_argument("not a type of numbers");
}

Handle text_type(std::size_t bytes) {
  Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(type.get(), bytes);
  H5Tset_cset(type.get(), H5T_CSET_UTF8);
  if (bytes != H5T_VARIABLE) H5Tset_strpad(type.get(), H5T_STR_NULLPAD);
  return type;
}

Handle variable_text_type() { return text_type(H5T_VARIABLE); }

Handle reference_type() {
  static const bool registered = [] {
    const Handle source = variable_text_type();
    const Handle target(H5Tcreate(H5T_OPAQUE, sizeof(TextReference)), H5Tclose);
    return H5Tregister(H5T_PERS_SOFT, "text reference", source.get(), target.get(), keep_reference) >= 0;
  }();
  if (!registered) throw std::runtime_error("HDF5 does not take a conversion: " + error_reason());
  return {H5Tcreate(H5T_OPAQUE, sizeof(TextReference)), H5Tclose};
}

Type type_of(std::int64_t datatype) {
  switch (H5Tget_class(datatype)) {
    case H5T_STRING:
      return Type::kText;
    case H5T_COMPOUND:
      return Type::kTable;
    case H5T_ENUM:
      return H5Tget_size(datatype) == 1 ? Type::kBoolean : Type::kOther;
    case H5T_FLOAT:
    case H5T_INTEGER:
      if (H5Tequal(datatype, half_type().get()) > 0) return Type::kFloat16;
      for (const auto& [number, standard] : standard_numbers()) {
        if (H5Tequal(datatype, standard) > 0) return number;
      }
      return Type::kOther;
    default:
      return Type::kOther;
  }
}

}  // namespace evictlab::trace::hdf5
