# Ranks that are processes: libintaglio_mpi.so, which a program loads when a launcher of MPI has started it. Without MPI all else is built.
find_package(MPI QUIET COMPONENTS C)
if(MPI_C_FOUND)
  # Tests reach below the plugin's one entry.
  add_library(intaglio_mpi_rank STATIC src/collectives/mpi/post.cc src/collectives/mpi/mpi_rank.cc)
  target_link_libraries(intaglio_mpi_rank PUBLIC intaglio_collectives MPI::MPI_C)
  target_compile_definitions(intaglio_mpi_rank PUBLIC OMPI_SKIP_MPICXX MPICH_SKIP_MPICXX)

  add_library(intaglio_mpi SHARED src/collectives/mpi/plugin.cc)
  target_link_libraries(intaglio_mpi PRIVATE intaglio_mpi_rank)
  # Its copies of our own functions stay its own.
  target_compile_options(intaglio_mpi PRIVATE -fvisibility=hidden)
  target_link_options(intaglio_mpi PRIVATE -Wl,--exclude-libs,ALL)
  set_target_properties(intaglio_mpi PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
  add_dependencies(intaglio intaglio_mpi)
else()
  message(STATUS "MPI is not installed: no ranks that are processes")
endif()
