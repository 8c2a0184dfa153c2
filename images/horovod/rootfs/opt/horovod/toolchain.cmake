# Horovod 0.28.1 asks for C++14; the headers of torch since 2.1 need C++17. CMake reads this at every project().
set(CMAKE_PROJECT_INCLUDE "${CMAKE_CURRENT_LIST_FILE}")
foreach(version 11 14)
  set(CMAKE_CXX${version}_STANDARD_COMPILE_OPTION "-std=c++17")
  set(CMAKE_CXX${version}_EXTENSION_COMPILE_OPTION "-std=gnu++17")
endforeach()
