#include "training/data/check.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "model/image/image.h"
#include "training/data/collator.h"
#include "training/data/conversation_builder.h"
#include "training/data/instruction_dataset.h"
#include "training/data/tar/picture_file.h"
#include "training/data/tar/shard_names.h"

namespace llava::training {
namespace {

// The tokens of the image that `sample` ends inside of; 0: it ends inside of none.
std::int32_t CutImageTokens(const Sample& sample) {
  if (sample.image_spans.empty()) return 0;
  const ImageSpan& last = sample.image_spans.back();
  const std::int32_t tokens = sample.images[static_cast<std::size_t>(last.image)].layout.tokens;
  return last.count < tokens ? tokens : 0;
}

class Checker {
 public:
  Checker(const CheckOptions& options, const std::function<void(const std::string&)>& on_line)
      : options_(options), on_line_(on_line) {}

  absl::StatusOr<CheckReport> Run() {
    if (!options_.checkpoint.empty()) {
      ConversationOptions conversation;
      conversation.images_dir = options_.images_dir;
      conversation.chat_template = options_.chat_template;
      conversation.max_length = options_.max_length;
      ASSIGN_OR_RETURN(builder_, ConversationBuilder::Make(
                                     options_.checkpoint, options_.vision_tower_dir, conversation));
      RETURN_IF_ERROR(CheckHasImages());
    }
    DatasetOptions dataset;
    dataset.images_dir = options_.images_dir;
    dataset.on_issue = [this](const RowIssue& issue) { on_line_(issue.ToString()); };
    std::vector<std::string> files;
    for (const std::string& name : options_.files) {
      ASSIGN_OR_RETURN(const std::vector<std::string> shards, ShardNames(name));
      files.insert(files.end(), shards.begin(), shards.end());
    }
    ASSIGN_OR_RETURN(const InstructionDataset data, InstructionDataset::Open(files, dataset));
    report_.rows = data.size() + data.bad_rows();
    report_.bad = data.bad_rows();
    for (std::int64_t i = 0; i < data.size(); ++i) {
      ASSIGN_OR_RETURN(const Row row, data.Read(i));
      const std::string where = absl::StrCat(data.Describe(i), ": row '", row.id, "': ");
      const absl::Status status = CheckRow(row, where);
      if (!status.ok()) {
        ++report_.bad;
        on_line_(absl::StrCat(where, "image ", status.message()));
      }
    }
    return report_;
  }

 private:
  absl::Status CheckHasImages() const {
    const bool are_tars = std::all_of(options_.files.begin(), options_.files.end(), IsTar);
    if (are_tars || !options_.images_dir.empty() || !builder_->config().has_tiles()) {
      return absl::OkStatus();
    }
    return absl::InvalidArgumentError(
        absl::StrCat(options_.checkpoint,
                     ": how many tokens a picture has follows from its size: give the folder of "
                     "the pictures (--images)"));
  }

  absl::Status CheckRow(const Row& row, const std::string& where) {
    if (builder_) {
      RETURN_IF_ERROR(CountTokens(row, where));
    } else if (!FolderOf(row).empty()) {
      RETURN_IF_ERROR(DecodeImages(row));
    }
    report_.text_only += row.images.empty() ? 1 : 0;
    report_.images += static_cast<std::int64_t>(row.images.size());
    report_.turns += static_cast<std::int64_t>(row.turns.size());
    return absl::OkStatus();
  }

  absl::Status CountTokens(const Row& row, const std::string& where) {
    // Without a folder of images their features still count: a row is tokenized all the same.
    ASSIGN_OR_RETURN(std::vector<Sample> samples, FolderOf(row).empty()
                                                      ? builder_->BuildWithoutPixels(row)
                                                      : builder_->Build(row));
    SayIfCut(samples, where);
    const Batch batch = Collate(std::move(samples));
    report_.tokens += batch.stats.tokens;
    report_.label_tokens += batch.stats.label_tokens;
    report_.masked += batch.stats.masked;
    report_.truncated += batch.stats.truncated;
    report_.longest = std::max(report_.longest, batch.stats.tokens);
    if (batch.stats.masked > 0) on_line_(where + "every label is masked, it teaches nothing");
    return absl::OkStatus();
  }

  const std::string& FolderOf(const Row& row) const {
    return row.images_dir.empty() ? options_.images_dir : row.images_dir;
  }

  // What is left of such a picture is taught as if it were whole.
  void SayIfCut(const std::vector<Sample>& samples, const std::string& where) {
    for (const Sample& sample : samples) {
      const std::int32_t tokens = CutImageTokens(sample);
      if (tokens == 0) continue;
      ++report_.cut_images;
      on_line_(absl::StrCat(where, "is cut at ", sample.ids.size(), " tokens, inside a picture of ",
                            tokens));
      return;
    }
  }

  absl::Status DecodeImages(const Row& row) {
    for (const std::string& image : row.images) {
      const std::string path = absl::StrCat(FolderOf(row), "/", image);
      ASSIGN_OR_RETURN(const std::string bytes,
                       ReadPictureFile(path, model::ImageLimits().max_bytes));
      RETURN_IF_ERROR(Annotate(model::DecodeImage(bytes).status(), image));
    }
    return absl::OkStatus();
  }

  const CheckOptions& options_;
  const std::function<void(const std::string&)>& on_line_;
  std::optional<ConversationBuilder> builder_;
  CheckReport report_;
};

}  // namespace

absl::StatusOr<CheckReport> CheckData(const CheckOptions& options,
                                      const std::function<void(const std::string&)>& on_line) {
  return Checker(options, on_line).Run();
}

std::string ToText(const CheckReport& report, bool tokenized) {
  std::string text = absl::StrFormat(
      "rows        %d, %d bad (%.2f%%)\nimages      %d\ntext only   %d rows\n", report.rows,
      report.bad, 100 * report.bad_share(), report.images, report.text_only);
  absl::StrAppendFormat(&text, "turns       %d\n", report.turns);
  if (!tokenized) return text;
  absl::StrAppendFormat(&text,
                        "tokens      %d, of which %d are learnt; the longest row has %d\n"
                        "truncated   %d rows, %d of them inside a picture\n"
                        "masked      %d rows teach nothing\n",
                        report.tokens, report.label_tokens, report.longest, report.truncated,
                        report.cut_images, report.masked);
  return text;
}

}  // namespace llava::training
