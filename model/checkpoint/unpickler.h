// A pickle machine that can only build literals, containers and descriptions of tensors. Names of
// Python objects are compared with a short list; nothing is looked up, imported or called.
// The language: Python's pickletools.py. The persistent ids of storages: torch/serialization.py.
#ifndef LLAVA_MODEL_CHECKPOINT_UNPICKLER_H_
#define LLAVA_MODEL_CHECKPOINT_UNPICKLER_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "model/checkpoint/stored_tensor.h"

namespace llava::model {

// One object of a pickle. Objects refer to each other by their index in Pickle::objects.
struct PickleObject {
  enum class Kind {
    kNone,
    kBool,
    kInt,
    kFloat,
    kBytes,
    kString,
    kSequence,
    kDict,
    kGlobal,
    kStorage,
    kTensor
  };
  Kind kind = Kind::kNone;
  std::int64_t number = 0;                 // kBool, kInt; kTensor: first element within the storage
  std::string text = {};                   // kString, kBytes; kGlobal: "module.name"; kStorage: key
  std::vector<std::size_t> items = {};     // kSequence: elements; kDict: key, value, key, value...
  DType dtype = DType::kFloat32;           // kStorage
  std::int64_t elements = 0;               // kStorage
  std::size_t storage = 0;                 // kTensor: its storage object
  std::vector<std::int64_t> shape = {};    // kTensor
  std::vector<std::int64_t> strides = {};  // kTensor
};

struct Pickle {
  std::vector<PickleObject> objects;
  std::size_t result = 0;  // index of the object that the pickle stands for
  std::size_t size = 0;    // bytes read, the STOP included
};

// Bounds of a pickle: a state_dict of 10,000 tensors has 300,000 objects in 1 MB.
inline constexpr std::size_t kMaxPickleBytes = std::size_t{64} << 20;
inline constexpr std::size_t kMaxPickleObjects = std::size_t{1} << 20;
// Dimensions of a tensor (PyTorch's own bound) and bytes of a storage's key: both are copied for
// each tensor that names them.
inline constexpr std::size_t kMaxPickleDimensions = 64;
inline constexpr std::size_t kMaxStorageKeyBytes = 256;

// INVALID_ARGUMENT that names the opcode and its place, or the global that is not on the list, or
// the bound above. Work and memory are linear in the bytes: at most 512 bytes of memory for each.
absl::StatusOr<Pickle> Unpickle(std::string_view bytes);

}  // namespace llava::model

#endif  // LLAVA_MODEL_CHECKPOINT_UNPICKLER_H_
