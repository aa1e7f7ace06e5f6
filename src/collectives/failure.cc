#include "collectives/failure.h"

#include <exception>
#include <new>

namespace intaglio::collectives {

void AbortByException(Collectives& group) noexcept {
  try {
    throw;
  } catch (const Error& e) { group.Abort(e); } catch (const std::bad_alloc&) {
    group.Abort({ErrorCode::kResourceExhausted, "out of memory"});
  } catch (const std::exception& e) { group.Abort({ErrorCode::kUnavailable, e.what()}); }
}

}  // namespace intaglio::collectives
