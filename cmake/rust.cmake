# The one Rust static library (rust/): tokenizers and chat templates behind a C ABI. Crates were fetched by tools/setup.sh.
set(INTAGLIO_RUST_LIB ${CMAKE_SOURCE_DIR}/build/cargo/release/libintaglio_text.a)
file(GLOB_RECURSE rust_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/rust/src/*.rs)
add_custom_command(
  OUTPUT ${INTAGLIO_RUST_LIB}
  COMMAND ${CMAKE_COMMAND} -E env CARGO_TARGET_DIR=${CMAKE_SOURCE_DIR}/build/cargo cargo build --release --locked --offline
  DEPENDS ${rust_sources} ${CMAKE_SOURCE_DIR}/rust/Cargo.toml ${CMAKE_SOURCE_DIR}/rust/Cargo.lock
  WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}/rust
  USES_TERMINAL)
add_custom_target(intaglio_rust_build DEPENDS ${INTAGLIO_RUST_LIB})
add_library(intaglio_rust STATIC IMPORTED)
set_target_properties(intaglio_rust PROPERTIES IMPORTED_LOCATION ${INTAGLIO_RUST_LIB} INTERFACE_LINK_LIBRARIES "pthread;dl;m")
add_dependencies(intaglio_rust intaglio_rust_build)
