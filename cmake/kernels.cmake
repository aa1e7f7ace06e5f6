# The kernels: sources in src/kernels/ once; sources in src/kernels/isa/ once per instruction-set level, each in its own namespace
# and with exactly that level's flags. The scalar level must not be vectorised into contracted or reordered code, and is not: every
# sum is written out.
intaglio_library(kernels base)
file(GLOB isa_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/kernels/isa/*.cc)
set(INTAGLIO_ISA_FLAGS_scalar "")
set(INTAGLIO_ISA_FLAGS_avx2 -mavx2 -mfma -mf16c)
set(INTAGLIO_ISA_FLAGS_avx512 -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx2 -mfma -mf16c)
foreach(isa scalar avx2 avx512)
  add_library(intaglio_kernels_${isa} OBJECT ${isa_sources})
  target_include_directories(intaglio_kernels_${isa} PRIVATE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/include)
  target_compile_definitions(intaglio_kernels_${isa} PRIVATE INTAGLIO_ISA=${isa} INTAGLIO_ISA_${isa}=1)
  target_compile_options(intaglio_kernels_${isa} PRIVATE ${INTAGLIO_ISA_FLAGS_${isa}})
  target_sources(intaglio_kernels PRIVATE $<TARGET_OBJECTS:intaglio_kernels_${isa}>)
endforeach()
