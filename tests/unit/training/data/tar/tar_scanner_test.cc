#include "training/data/tar/tar_scanner.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/tar_writer.h"

namespace llava::training {
namespace {

using test::GnuMember;
using test::PaxMember;
using test::PaxRecord;
using test::TarBlock;
using test::TarEnd;
using test::TarMember;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct Member {
  TarEntry entry;
  std::string data;
  bool ended = false;
};

struct Scan {
  absl::Status status;
  std::vector<Member> members;

  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const Member& member : members) names.push_back(member.entry.name);
    return names;
  }
};

// In pieces whose sizes `next` gives.
template <typename Next>
Scan ScanIn(std::string_view archive, const Next& next) {
  Scan scan;
  TarScanner scanner({.begin =
                          [&](const TarEntry& entry) {
                            scan.members.push_back({entry, ""});
                            return absl::OkStatus();
                          },
                      .data =
                          [&](std::string_view bytes) {
                            scan.members.back().data += bytes;
                            return absl::OkStatus();
                          },
                      .end =
                          [&] {
                            scan.members.back().ended = true;
                            return absl::OkStatus();
                          }});
  while (!archive.empty() && scan.status.ok()) {
    const std::string_view piece = archive.substr(0, next());
    archive.remove_prefix(piece.size());
    scan.status = scanner.Feed(piece);
  }
  if (scan.status.ok()) scan.status = scanner.Finish();
  return scan;
}

Scan ScanWhole(std::string_view archive) {
  return ScanIn(archive, [] { return std::size_t{1} << 30; });
}

std::string RandomText(Rng& rng, std::uint64_t most) {
  std::string text(rng.Below(most + 1), ' ');
  for (char& c : text) c = static_cast<char>(rng.Below(256));
  return text;
}

// What any writer writes is found again where it stands, whatever pieces the archive comes in.
TEST(TarScannerTest, RandomMembersOfEveryFormatAreFoundWhereTheyStand) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    Rng rng(seed);
    std::string archive;
    std::vector<std::pair<std::string, std::string>> expected;
    for (std::uint64_t i = rng.Below(8); i-- > 0;) {
      const std::uint64_t format = rng.Below(4);
      std::string name = absl::StrCat("m", i);
      name.append(rng.Below(format == 0 ? 90 : 400), 'x');
      const std::string data = RandomText(rng, rng.Below(2) == 0 ? 20 : 2000);
      if (format == 0) archive += TarMember(name, data);
      if (format == 1) archive += GnuMember(name, data);
      if (format == 2) archive += PaxMember(name, data);
      if (format == 3) archive += PaxMember(name, data, PaxRecord("mtime", "17.5"));
      expected.emplace_back(name, data);
      // Some are several that were joined.
      if (rng.Below(8) == 0) archive += TarEnd() + std::string(512 * rng.Below(20), '\0');
    }
    archive += TarEnd() + std::string(rng.Below(1000), '\0');
    const Scan scan = ScanIn(archive, [&] { return 1 + rng.Below(700); });
    ASSERT_TRUE(scan.status.ok()) << "seed " << seed << ": " << scan.status;
    ASSERT_EQ(scan.members.size(), expected.size()) << "seed " << seed;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const Member& member = scan.members[i];
      EXPECT_EQ(member.entry.name, expected[i].first);
      EXPECT_EQ(member.data, expected[i].second);
      EXPECT_EQ(archive.substr(member.entry.offset, member.entry.size), expected[i].second);
      EXPECT_TRUE(member.ended);
    }
  }
}

TEST(TarScannerTest, CutAnywhereBeforeItsEndItIsAnError) {
  const std::string members = TarMember("a.json", "{}") + GnuMember(std::string(150, 'b'), "bb") +
                              PaxMember("c.jpg", std::string(700, 'c'));
  const std::string archive = members + TarEnd();
  for (std::size_t size = 0; size <= archive.size(); ++size) {
    const Scan scan = ScanWhole(std::string_view(archive).substr(0, size));
    EXPECT_LE(scan.members.size(), 3u);
    for (const Member& member : scan.members) {
      EXPECT_LE(member.ended ? member.entry.offset + member.entry.size : 0, size);
    }
    ASSERT_EQ(scan.status.ok(), size >= members.size() + 512) << size << " " << scan.status;
    if (scan.status.ok()) {
      EXPECT_EQ(scan.members.size(), 3u);
      continue;
    }
    EXPECT_EQ(scan.status.code(), absl::StatusCode::kDataLoss) << size << " " << scan.status;
    EXPECT_THAT(std::string(scan.status.message()), HasSubstr(absl::StrCat("byte ", size)));
  }
  // Between two members nothing else shows that one is missing.
  EXPECT_EQ(std::string(ScanWhole(archive.substr(0, 1024)).status.message()),
            "the archive ends at byte 1024 without its end, expected two blocks of zeros: members "
            "may be missing");
  EXPECT_THAT(std::string(ScanWhole(archive.substr(0, 513)).status.message()),
              HasSubstr("within a.json"));
}

// Writers fill the last record with zeros.
TEST(TarScannerTest, ZerosBehindTheEndAreNothing) {
  const std::string archive = TarMember("a.json", "{}") + TarEnd();
  for (const std::size_t zeros : {3, 512, 8192, 9000}) {
    const Scan scan = ScanWhole(archive + std::string(zeros, '\0'));
    EXPECT_TRUE(scan.status.ok()) << scan.status;
    EXPECT_THAT(scan.Names(), ElementsAre("a.json"));
  }
}

// cat(1) puts one archive behind another: their members are all rows.
TEST(TarScannerTest, ArchivesThatWereJoinedAreReadToTheLast) {
  const std::string first = TarMember("a.json", "{}") + TarEnd() + std::string(8192, '\0');
  const std::string second = GnuMember(std::string(150, 'b'), "bb") + TarMember("c.jpg", "ccc");
  const Scan scan = ScanWhole(first + second + TarEnd());
  EXPECT_TRUE(scan.status.ok()) << scan.status;
  EXPECT_THAT(scan.Names(), ElementsAre("a.json", std::string(150, 'b'), "c.jpg"));
  EXPECT_EQ(scan.members.back().entry.offset, first.size() + second.size() - 512);
  EXPECT_EQ(scan.members.back().data, "ccc");

  // The end of the first is none of the second.
  EXPECT_EQ(ScanWhole(first + second).status.code(), absl::StatusCode::kDataLoss);
  // Nothing that follows is passed over in silence.
  const Scan text = ScanWhole(first + std::string(512, 'x'));
  EXPECT_EQ(text.status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(text.status.message()),
              HasSubstr(absl::StrCat("byte ", first.size(),
                                     ": behind the archive's end: no header "
                                     "of a tar")));
  EXPECT_EQ(ScanWhole(first + "xyz").status.code(), absl::StatusCode::kDataLoss);
}

// No byte that is not there is handed out, and nothing is as large as a header says.
TEST(TarScannerTest, ChangedBytesNeverCrashIt) {
  const std::string archive = TarMember("a.json", "{}") + GnuMember(std::string(150, 'b'), "bb") +
                              PaxMember("c.jpg", std::string(700, 'c'), PaxRecord("size", "700")) +
                              TarEnd();
  for (std::uint64_t seed = 0; seed < 5000; ++seed) {
    Rng rng(seed);
    std::string changed = archive;
    for (std::uint64_t i = 1 + rng.Below(4); i-- > 0;) {
      changed[rng.Below(changed.size())] = static_cast<char>(rng.Below(256));
    }
    if (rng.Below(2) == 0) {  // a header that is wrong in what it says alone
      const std::size_t at = 512 * rng.Below(changed.size() / 512);
      changed.replace(at, 512, test::Summed(changed.substr(at, 512)));
    }
    std::size_t bytes = 0;
    for (const Member& member : ScanWhole(changed).members) bytes += member.data.size();
    EXPECT_LE(bytes, changed.size()) << "seed " << seed;
  }
}

TEST(TarScannerTest, AbsurdSizesAreErrorsAndNeverMemory) {
  const Scan huge = ScanWhole(TarBlock("a.jpg", 0777777777777ULL / 8) + "data");
  EXPECT_EQ(huge.status.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(huge.members.front().data, "data");
  const Scan name =
      ScanWhole(TarBlock("././@LongLink", std::uint64_t{2} << 20, 'L') + std::string(4096, 'n'));
  EXPECT_EQ(name.status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(name.status.message()), HasSubstr("byte 0: a name or pax header of"));
  const Scan size = ScanWhole(PaxMember("x", "abc", PaxRecord("size", "4611686018427387904")));
  EXPECT_EQ(size.status.code(), absl::StatusCode::kDataLoss);
}

TEST(TarScannerTest, TellsFilesFromWhatIsNone) {
  const Scan scan = ScanWhole(
      TarBlock("folder/", 0, '5') + TarBlock("link", 512, '2') + TarBlock("hard", 512, '1') +
      TarBlock("device", 3, '3') + TarBlock("global", 30, 'g') +
      test::Padded("30 comment=what all of it says\n") + TarMember("file", "f") +
      PaxMember("holes", "h", PaxRecord("GNU.sparse.major", "1")) + TarEnd());
  ASSERT_TRUE(scan.status.ok()) << scan.status;
  EXPECT_THAT(scan.Names(), ElementsAre("folder/", "link", "hard", "device", "file", "holes"));
  std::vector<TarEntry::Kind> kinds;
  for (const Member& member : scan.members) kinds.push_back(member.entry.kind);
  EXPECT_THAT(kinds,
              ElementsAre(TarEntry::Kind::kFolder, TarEntry::Kind::kLink, TarEntry::Kind::kLink,
                          TarEntry::Kind::kOther, TarEntry::Kind::kFile, TarEntry::Kind::kOther));
  EXPECT_EQ(scan.members[4].data, "f");
}

TEST(TarScannerTest, NamesWhereAHeaderShouldBe) {
  const Scan scan = ScanWhole(TarMember("a", "b") + std::string(512, 'x'));
  EXPECT_EQ(scan.status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(scan.status.message()), HasSubstr("byte 1024: no header of a tar"));
  const std::string archive = TarMember("a", "b") + std::string(512, 'x');
  EXPECT_EQ(ScanIn(archive, [] { return std::size_t{100}; }).status, scan.status);
  EXPECT_FALSE(ScanWhole("[{\"id\": 1}]").status.ok());
  EXPECT_EQ(ScanWhole("").status.code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace llava::training
