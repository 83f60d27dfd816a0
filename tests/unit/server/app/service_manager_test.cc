#include "server/app/service_manager.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string>

#include "tests/support/temp_dir.h"

namespace llava::server {
namespace {

// Stands for systemd: a datagram socket at `address`, where '@' is a zero byte.
class Manager {
 public:
  explicit Manager(std::string address) : socket_(socket(AF_UNIX, SOCK_DGRAM, 0)) {
    setenv("NOTIFY_SOCKET", address.c_str(), 1);
    if (address.front() == '@') address.front() = '\0';
    sockaddr_un to = {};
    to.sun_family = AF_UNIX;
    std::memcpy(to.sun_path, address.data(), address.size());
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address.size());
    EXPECT_EQ(bind(socket_, reinterpret_cast<const sockaddr*>(&to), size), 0);
  }
  ~Manager() {
    close(socket_);
    for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}) unsetenv(name);
  }

  // "" when nothing was sent.
  std::string Next() const {
    char text[100];
    const ssize_t size = recv(socket_, text, sizeof(text), MSG_DONTWAIT);
    return size < 0 ? "" : std::string(text, static_cast<std::size_t>(size));
  }

 private:
  const int socket_;
};

TEST(ServiceManagerTest, SaysWhatTheManualPageOfSdNotifySays) {
  test::TempDir dir;
  for (const std::string& address :
       {dir.path() + "/notify", "@llavad-test-" + std::to_string(getpid())}) {
    const Manager systemd(address);
    const ServiceManager manager;
    EXPECT_EQ(systemd.Next(), "");
    manager.Ready();
    EXPECT_EQ(systemd.Next(), "READY=1");
    manager.Progresses();
    EXPECT_EQ(systemd.Next(), "WATCHDOG=1");
    manager.Stopping();
    EXPECT_EQ(systemd.Next(), "STOPPING=1");
    EXPECT_FALSE(manager.progress_interval().has_value());
  }
}

TEST(ServiceManagerTest, HalfOfTheWatchdogsTimeWhenThisProcessIsMeant) {
  test::TempDir dir;
  const Manager systemd(dir.path() + "/notify");
  setenv("WATCHDOG_USEC", "3000000", 1);
  EXPECT_EQ(ServiceManager().progress_interval(), std::chrono::milliseconds(1500));
  setenv("WATCHDOG_PID", std::to_string(getpid()).c_str(), 1);
  EXPECT_EQ(ServiceManager().progress_interval(), std::chrono::milliseconds(1500));
  setenv("WATCHDOG_PID", "1", 1);
  EXPECT_FALSE(ServiceManager().progress_interval().has_value());
  unsetenv("WATCHDOG_PID");
  setenv("WATCHDOG_USEC", "soon", 1);
  EXPECT_FALSE(ServiceManager().progress_interval().has_value());
}

TEST(ServiceManagerTest, NobodyListens) {
  ServiceManager().Ready();
  for (const std::string& address :
       {std::string("/nowhere/notify"), std::string("vsock:2:1"), std::string(200, '/')}) {
    setenv("NOTIFY_SOCKET", address.c_str(), 1);
    const ServiceManager manager;
    manager.Ready();
    EXPECT_FALSE(manager.progress_interval().has_value());
  }
  unsetenv("NOTIFY_SOCKET");
}

}  // namespace
}  // namespace llava::server
