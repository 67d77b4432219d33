// Certificates for tests of TLS, made on the spot.
#pragma once

#include <memory>
#include <string>

namespace ckpt::test {

// PEM.
struct Identity {
  std::string cert, key;
};

struct CertificateSpec {
  std::string common_name = "ckptd";
  std::string san = "DNS:localhost,IP:127.0.0.1";
  // In seconds from now.
  long not_before = -3600;
  long not_after = 3600;
};

// A certificate authority of its own.
class Authority {
 public:
  explicit Authority(const std::string& name);
  ~Authority();
  // What those trust who trust it.
  const std::string& cert() const { return identity_.cert; }
  Identity Issue(const CertificateSpec& spec = {}) const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
  Identity identity_;
};

}  // namespace ckpt::test
