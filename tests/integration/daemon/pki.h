// Certificates of a daemon and its clients, as files.
#pragma once

#include <fstream>
#include <string>

#include "tests/testing/certificates.h"
#include "tests/testing/temp_dir.h"

namespace ckpt::test {

// One authority that all trust, and another that nobody does.
class Pki {
 public:
  static const Pki& Get() {
    static const Pki pki;
    return pki;
  }

  std::string Path(const std::string& name) const { return dir_ / name; }
  std::string Ca() const { return Path("ca.pem"); }
  std::string Cert(const std::string& whose) const { return Path(whose + ".pem"); }
  std::string Key(const std::string& whose) const { return Path(whose + ".key"); }

  const Authority& authority() const { return authority_; }
  static void Write(const std::string& path, const std::string& text) {
    std::ofstream(path, std::ios::trunc) << text;
  }
  static void Write(const std::string& cert, const std::string& key, const Identity& identity) {
    Write(cert, identity.cert);
    Write(key, identity.key);
  }

 private:
  Pki() {
    Write(Ca(), authority_.cert());
    Write(Path("other-ca.pem"), other_.cert());
    const auto issue = [&](const std::string& whose, const Authority& by,
                           const CertificateSpec& spec) {
      Write(Cert(whose), Key(whose), by.Issue(spec));
    };
    issue("server", authority_, {});
    issue("client", authority_, {.common_name = "gpu-1", .san = "DNS:gpu-1"});
    issue("stranger", other_, {.common_name = "gpu-1", .san = "DNS:gpu-1"});
    issue("expired", authority_,
          {.common_name = "gpu-2", .san = "DNS:gpu-2", .not_before = -7200, .not_after = -3600});
    issue("early", authority_,
          {.common_name = "gpu-3", .san = "DNS:gpu-3", .not_before = 3600, .not_after = 7200});
    issue("elsewhere", authority_, {.common_name = "x", .san = "DNS:elsewhere.example"});
  }

  ckptd::os::TempDir dir_;
  const Authority authority_{"the authority"};
  const Authority other_{"another authority"};
};

}  // namespace ckpt::test
