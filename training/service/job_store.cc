#include "training/service/job_store.h"

#include <sqlite3.h>

#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"

namespace llava::training {
namespace {

constexpr char kSchema[] =
    "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA locking_mode=EXCLUSIVE;"
    "BEGIN IMMEDIATE;"
    "CREATE TABLE IF NOT EXISTS jobs (id INTEGER PRIMARY KEY AUTOINCREMENT, state INTEGER NOT NULL,"
    " recipe TEXT NOT NULL, creator TEXT NOT NULL, created_ms INTEGER NOT NULL,"
    " started_ms INTEGER NOT NULL, ended_ms INTEGER NOT NULL, attempts INTEGER NOT NULL,"
    " cancel_requested INTEGER NOT NULL, message TEXT NOT NULL, data_fingerprint TEXT NOT NULL);"
    "CREATE TABLE IF NOT EXISTS schedules (name TEXT PRIMARY KEY, handled_ms INTEGER NOT NULL);"
    "CREATE TABLE IF NOT EXISTS shards (name TEXT NOT NULL, sha256 TEXT NOT NULL,"
    " version TEXT NOT NULL, quarantined TEXT NOT NULL, PRIMARY KEY (name, sha256));"
    "CREATE TABLE IF NOT EXISTS trained (name TEXT NOT NULL, fingerprint TEXT NOT NULL,"
    " job INTEGER NOT NULL, PRIMARY KEY (name, fingerprint));"
    "CREATE TABLE IF NOT EXISTS admitted (name TEXT NOT NULL, job INTEGER NOT NULL,"
    " shard TEXT NOT NULL, rows TEXT NOT NULL, PRIMARY KEY (name, job, shard));"
    "CREATE TABLE IF NOT EXISTS steps (job INTEGER NOT NULL, name TEXT NOT NULL,"
    " state INTEGER NOT NULL, began_ms INTEGER NOT NULL, ended_ms INTEGER NOT NULL,"
    " message TEXT NOT NULL, PRIMARY KEY (job, name));"
    "COMMIT;";
// What later versions have added to a table: the first one is what version 1 lacks.
constexpr const char* kMigrations[] = {
    "BEGIN IMMEDIATE;"
    "ALTER TABLE jobs ADD COLUMN deadline_ms INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE jobs ADD COLUMN inputs TEXT NOT NULL DEFAULT '';"
    "PRAGMA user_version=1; COMMIT;",
    "BEGIN IMMEDIATE;"
    "ALTER TABLE jobs ADD COLUMN crashes INTEGER NOT NULL DEFAULT 0;"
    "PRAGMA user_version=2; COMMIT;",
    // What triggers had trained stood in their jobs alone: succeeded (3) and rejected (6) ones.
    "BEGIN IMMEDIATE;"
    "INSERT OR IGNORE INTO trained SELECT creator, data_fingerprint, max(id) FROM jobs"
    " WHERE data_fingerprint != '' AND state IN (3, 6) GROUP BY creator, data_fingerprint;"
    "PRAGMA user_version=3; COMMIT;"};
constexpr char kColumns[] =
    "id, state, recipe, creator, created_ms, started_ms, ended_ms, attempts, cancel_requested,"
    " message, data_fingerprint, deadline_ms, inputs, crashes";

absl::Status SqlError(sqlite3* database, int code) {
  const std::string text = absl::StrCat("job database: ", sqlite3_errmsg(database));
  if (code == SQLITE_FULL) return absl::ResourceExhaustedError(text);
  if (code == SQLITE_BUSY || code == SQLITE_LOCKED) return absl::UnavailableError(text);
  if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB) return absl::DataLossError(text);
  return absl::InternalError(text);
}

// In the table of admitted rows, those of the last job that learned.
constexpr std::int64_t kLearned = 0;

using Value = std::variant<std::int64_t, std::string>;

// One prepared statement.
class Statement {
 public:
  Statement(sqlite3* database, const std::string& sql) : database_(database) {
    code_ = sqlite3_prepare_v2(database, sql.c_str(), -1, &statement_, nullptr);
  }
  ~Statement() { sqlite3_finalize(statement_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  void Bind(const std::vector<Value>& values) {
    for (std::size_t i = 0; i < values.size() && code_ == SQLITE_OK; ++i) {
      const int at = static_cast<int>(i) + 1;
      if (const auto* number = std::get_if<std::int64_t>(&values[i])) {
        code_ = sqlite3_bind_int64(statement_, at, *number);
      } else {
        const auto& text = std::get<std::string>(values[i]);
        code_ = sqlite3_bind_text(statement_, at, text.data(), static_cast<int>(text.size()),
                                  SQLITE_TRANSIENT);
      }
    }
  }

  // True when there is a row.
  absl::StatusOr<bool> Step() {
    if (code_ == SQLITE_OK || code_ == SQLITE_ROW) code_ = sqlite3_step(statement_);
    if (code_ == SQLITE_ROW) return true;
    if (code_ == SQLITE_DONE) return false;
    return SqlError(database_, code_);
  }

  std::int64_t Int(int column) const { return sqlite3_column_int64(statement_, column); }
  std::string Text(int column) const {
    const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
    const int size = sqlite3_column_bytes(statement_, column);
    return text == nullptr ? "" : std::string(text, static_cast<std::size_t>(size));
  }

 private:
  sqlite3* const database_;
  sqlite3_stmt* statement_ = nullptr;
  int code_;
};

Job ReadJob(const Statement& row) {
  return Job{.id = row.Int(0),
             .state = static_cast<JobState>(row.Int(1)),
             .recipe = row.Text(2),
             .creator = row.Text(3),
             .created_ms = row.Int(4),
             .started_ms = row.Int(5),
             .ended_ms = row.Int(6),
             .attempts = static_cast<int>(row.Int(7)),
             .cancel_requested = row.Int(8) != 0,
             .message = row.Text(9),
             .data_fingerprint = row.Text(10),
             .deadline_ms = row.Int(11),
             .inputs = row.Text(12),
             .crashes = static_cast<int>(row.Int(13))};
}

std::vector<Value> Values(const Job& job) {
  return {std::int64_t{static_cast<int>(job.state)},
          job.recipe,
          job.creator,
          job.created_ms,
          job.started_ms,
          job.ended_ms,
          std::int64_t{job.attempts},
          std::int64_t{job.cancel_requested ? 1 : 0},
          job.message,
          job.data_fingerprint,
          job.deadline_ms,
          job.inputs,
          std::int64_t{job.crashes}};
}

absl::StatusOr<std::vector<Job>> Select(sqlite3* database, const std::string& rest,
                                        const std::vector<Value>& values) {
  Statement statement(database, absl::StrCat("SELECT ", kColumns, " FROM jobs ", rest));
  statement.Bind(values);
  std::vector<Job> jobs;
  for (;;) {
    ASSIGN_OR_RETURN(const bool row, statement.Step());
    if (!row) return jobs;
    jobs.push_back(ReadJob(statement));
  }
}

// The columns that a database of an earlier version lacks.
absl::Status Migrate(sqlite3* database) {
  std::int64_t version = 0;
  {
    Statement statement(database, "PRAGMA user_version");
    RETURN_IF_ERROR(statement.Step().status());
    version = statement.Int(0);
  }
  for (std::int64_t i = version; i < std::ssize(kMigrations); ++i) {
    const int code = sqlite3_exec(database, kMigrations[i], nullptr, nullptr, nullptr);
    if (code != SQLITE_OK) return SqlError(database, code);
  }
  return absl::OkStatus();
}

// One statement without a result.
absl::Status Execute(sqlite3* database, const std::string& sql, const std::vector<Value>& values) {
  Statement statement(database, sql);
  statement.Bind(values);
  return statement.Step().status();
}

// All of `work` or nothing.
template <typename Work>
absl::Status Transact(sqlite3* database, Work work) {
  RETURN_IF_ERROR(Execute(database, "BEGIN IMMEDIATE", {}));
  absl::Status status = work();
  if (status.ok()) status = Execute(database, "COMMIT", {});
  if (!status.ok()) Execute(database, "ROLLBACK", {}).IgnoreError();
  return status;
}

absl::Status Missing(std::int64_t id) {
  return absl::NotFoundError(absl::StrCat("there is no job ", id));
}

}  // namespace

absl::StatusOr<std::unique_ptr<JobStore>> JobStore::Open(const std::string& path) {
  sqlite3* database = nullptr;
  int code =
      sqlite3_open_v2(path.c_str(), &database, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr);
  std::unique_ptr<JobStore> store(new JobStore(database));
  if (code == SQLITE_OK) code = sqlite3_exec(database, kSchema, nullptr, nullptr, nullptr);
  if (code == SQLITE_BUSY) {
    return absl::UnavailableError(absl::StrCat(path, ": another process works with it"));
  }
  if (code != SQLITE_OK) return Annotate(SqlError(database, code), path);
  const absl::Status migrated = Migrate(database);
  if (!migrated.ok()) return Annotate(migrated, path);
  return store;
}

JobStore::~JobStore() { sqlite3_close(database_); }

absl::StatusOr<Job> JobStore::Insert(Job job) {
  MutexLock lock(&mutex_);
  Statement statement(database_,
                      "INSERT INTO jobs (state, recipe, creator, created_ms, started_ms, ended_ms,"
                      " attempts, cancel_requested, message, data_fingerprint,"
                      " deadline_ms, inputs, crashes)"
                      " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)");
  statement.Bind(Values(job));
  RETURN_IF_ERROR(statement.Step().status());
  job.id = sqlite3_last_insert_rowid(database_);
  return job;
}

absl::StatusOr<Job> JobStore::Get(std::int64_t id) {
  MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(std::vector<Job> jobs, Select(database_, "WHERE id = ?", {id}));
  if (jobs.empty()) return Missing(id);
  return std::move(jobs[0]);
}

absl::Status JobStore::Update(const Job& job) {
  MutexLock lock(&mutex_);
  Statement statement(database_,
                      "UPDATE jobs SET state=?, recipe=?, creator=?, created_ms=?, started_ms=?,"
                      " ended_ms=?, attempts=?, cancel_requested=max(cancel_requested, ?),"
                      " message=?, data_fingerprint=?, deadline_ms=?, inputs=?, crashes=?"
                      " WHERE id=?");
  std::vector<Value> values = Values(job);
  values.emplace_back(job.id);
  statement.Bind(values);
  RETURN_IF_ERROR(statement.Step().status());
  return sqlite3_changes(database_) == 1 ? absl::OkStatus() : Missing(job.id);
}

absl::Status JobStore::RequestCancel(std::int64_t id) {
  MutexLock lock(&mutex_);
  Statement statement(database_,
                      "UPDATE jobs SET cancel_requested = max(cancel_requested, state IN (1, 2))"
                      " WHERE id=?");
  statement.Bind({id});
  RETURN_IF_ERROR(statement.Step().status());
  return sqlite3_changes(database_) == 1 ? absl::OkStatus() : Missing(id);
}

absl::Status JobStore::Delete(std::int64_t id) {
  MutexLock lock(&mutex_);
  Statement steps(database_, "DELETE FROM steps WHERE job=?");
  steps.Bind({id});
  RETURN_IF_ERROR(steps.Step().status());
  Statement statement(database_, "DELETE FROM jobs WHERE id=?");
  statement.Bind({id});
  RETURN_IF_ERROR(statement.Step().status());
  return sqlite3_changes(database_) == 1 ? absl::OkStatus() : Missing(id);
}

absl::StatusOr<std::vector<Job>> JobStore::List(std::int64_t before, int most) {
  MutexLock lock(&mutex_);
  return Select(database_, "WHERE ?1 = 0 OR id < ?1 ORDER BY id DESC LIMIT ?2",
                {before, std::int64_t{most}});
}

absl::StatusOr<std::vector<Job>> JobStore::Unfinished() {
  MutexLock lock(&mutex_);
  return Select(database_, "WHERE state IN (1, 2) ORDER BY id", {});
}

absl::StatusOr<std::map<JobState, std::int64_t>> JobStore::CountByState() {
  MutexLock lock(&mutex_);
  Statement statement(database_, "SELECT state, COUNT(*) FROM jobs GROUP BY state");
  std::map<JobState, std::int64_t> counts;
  for (;;) {
    ASSIGN_OR_RETURN(const bool row, statement.Step());
    if (!row) return counts;
    counts[static_cast<JobState>(statement.Int(0))] = statement.Int(1);
  }
}

absl::StatusOr<std::int64_t> JobStore::LastSuccessMillis() {
  MutexLock lock(&mutex_);
  Statement statement(database_, "SELECT COALESCE(MAX(ended_ms), 0) FROM jobs WHERE state = 3");
  RETURN_IF_ERROR(statement.Step().status());
  return statement.Int(0);
}

absl::StatusOr<std::optional<Job>> JobStore::FindFingerprint(const std::string& creator,
                                                             const std::string& fingerprint) {
  MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(
      std::vector<Job> jobs,
      Select(database_, "WHERE creator = ? AND data_fingerprint = ? ORDER BY id DESC LIMIT 1",
             {creator, fingerprint}));
  if (jobs.empty()) return std::optional<Job>();
  return std::optional<Job>(std::move(jobs[0]));
}

absl::StatusOr<StepRecords> JobStore::Steps(std::int64_t job) {
  MutexLock lock(&mutex_);
  Statement statement(database_,
                      "SELECT name, state, began_ms, ended_ms, message FROM steps WHERE job = ?");
  statement.Bind({job});
  StepRecords steps;
  for (;;) {
    ASSIGN_OR_RETURN(const bool row, statement.Step());
    if (!row) return steps;
    steps[statement.Text(0)] = {static_cast<StepState>(statement.Int(1)), statement.Int(2),
                                statement.Int(3), statement.Text(4)};
  }
}

absl::Status JobStore::RecordStep(std::int64_t job, const std::string& name,
                                  const StepRecord& step) {
  MutexLock lock(&mutex_);
  Statement statement(database_,
                      "REPLACE INTO steps (job, name, state, began_ms, ended_ms, message)"
                      " VALUES (?, ?, ?, ?, ?, ?)");
  statement.Bind({job, name, std::int64_t{static_cast<int>(step.state)}, step.began_ms,
                  step.ended_ms, step.message});
  return statement.Step().status();
}

absl::StatusOr<std::vector<WaitingStep>> JobStore::Begun(const std::string& name) {
  MutexLock lock(&mutex_);
  Statement statement(database_,
                      "SELECT job, message FROM steps WHERE name = ? AND state = 1 ORDER BY job");
  statement.Bind({name});
  std::vector<WaitingStep> waiting;
  for (;;) {
    ASSIGN_OR_RETURN(const bool row, statement.Step());
    if (!row) return waiting;
    waiting.push_back({statement.Int(0), statement.Text(1)});
  }
}

absl::StatusOr<std::optional<Job>> JobStore::FindNewest(const std::string& creator) {
  MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(std::vector<Job> jobs,
                   Select(database_, "WHERE creator = ? ORDER BY id DESC LIMIT 1", {creator}));
  if (jobs.empty()) return std::optional<Job>();
  return std::optional<Job>(std::move(jobs[0]));
}

absl::StatusOr<std::int64_t> JobStore::HandledMillis(const std::string& name) {
  MutexLock lock(&mutex_);
  Statement statement(database_, "SELECT handled_ms FROM schedules WHERE name = ?");
  statement.Bind({name});
  ASSIGN_OR_RETURN(const bool row, statement.Step());
  return row ? statement.Int(0) : 0;
}

absl::Status JobStore::SetHandledMillis(const std::string& name, std::int64_t ms) {
  MutexLock lock(&mutex_);
  Statement statement(database_, "REPLACE INTO schedules (name, handled_ms) VALUES (?, ?)");
  statement.Bind({name, ms});
  return statement.Step().status();
}

absl::StatusOr<std::map<std::string, KnownShard>> JobStore::KnownShards(const std::string& name) {
  MutexLock lock(&mutex_);
  Statement statement(database_, "SELECT sha256, version, quarantined FROM shards WHERE name = ?");
  statement.Bind({name});
  std::map<std::string, KnownShard> shards;
  for (;;) {
    ASSIGN_OR_RETURN(const bool row, statement.Step());
    if (!row) return shards;
    shards[statement.Text(0)] = {statement.Text(1), statement.Text(2)};
  }
}

absl::Status JobStore::RecordShard(const std::string& name, const std::string& sha256,
                                   const KnownShard& known) {
  MutexLock lock(&mutex_);
  Statement statement(
      database_, "REPLACE INTO shards (name, sha256, version, quarantined) VALUES (?, ?, ?, ?)");
  statement.Bind({name, sha256, known.version, known.quarantined});
  return statement.Step().status();
}

absl::Status JobStore::RecordTrained(const std::string& name, const std::string& fingerprint,
                                     std::int64_t job) {
  MutexLock lock(&mutex_);
  return Execute(database_, "REPLACE INTO trained (name, fingerprint, job) VALUES (?, ?, ?)",
                 {name, fingerprint, job});
}

absl::StatusOr<std::int64_t> JobStore::TrainedBy(const std::string& name,
                                                 const std::string& fingerprint) {
  MutexLock lock(&mutex_);
  Statement statement(database_, "SELECT job FROM trained WHERE name = ? AND fingerprint = ?");
  statement.Bind({name, fingerprint});
  ASSIGN_OR_RETURN(const bool row, statement.Step());
  return row ? statement.Int(0) : 0;
}

absl::Status JobStore::RecordAdmitted(const std::string& name, std::int64_t job,
                                      const capture::AdmittedRows& rows) {
  MutexLock lock(&mutex_);
  return Transact(database_, [&]() -> absl::Status {
    RETURN_IF_ERROR(
        Execute(database_, "DELETE FROM admitted WHERE name = ? AND job != ?", {name, kLearned}));
    for (const auto& [shard, admitted] : rows) {
      RETURN_IF_ERROR(Execute(database_,
                              "INSERT INTO admitted (name, job, shard, rows) VALUES (?, ?, ?, ?)",
                              {name, job, shard, absl::StrJoin(admitted, " ")}));
    }
    return absl::OkStatus();
  });
}

absl::Status JobStore::LearnAdmitted(const std::string& name, std::int64_t job) {
  MutexLock lock(&mutex_);
  return Transact(database_, [&]() -> absl::Status {
    RETURN_IF_ERROR(Execute(database_,
                            "DELETE FROM admitted WHERE name = ?1 AND job = ?2 AND EXISTS"
                            " (SELECT 1 FROM admitted WHERE name = ?1 AND job = ?3)",
                            {name, kLearned, job}));
    return Execute(database_, "UPDATE admitted SET job = ?2 WHERE name = ?1 AND job = ?3",
                   {name, kLearned, job});
  });
}

absl::StatusOr<capture::AdmittedRows> JobStore::LearnedRows(const std::string& name) {
  MutexLock lock(&mutex_);
  Statement statement(database_, "SELECT shard, rows FROM admitted WHERE name = ? AND job = ?");
  statement.Bind({name, kLearned});
  capture::AdmittedRows rows;
  for (;;) {
    ASSIGN_OR_RETURN(const bool row, statement.Step());
    if (!row) return rows;
    const std::string text = statement.Text(1);
    rows[statement.Text(0)] = absl::StrSplit(text, ' ', absl::SkipEmpty());
  }
}

}  // namespace llava::training
