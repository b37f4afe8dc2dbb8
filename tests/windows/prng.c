/* Wine 8.0 lacks bcryptprimitives.dll, which Windows has since version 10: this stands in for the one function of it that
 * salon.exe needs. For tests only; it is never packaged. RtlGenRandom is exported as SystemFunction036. */
#include <windows.h>

BOOLEAN NTAPI SystemFunction036(PVOID buffer, ULONG length);

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE bytes, SIZE_T length)
{
	while (length > 0) {
		ULONG part = length > 0x10000 ? 0x10000 : (ULONG)length;
		if (!SystemFunction036(bytes, part))
			return FALSE;
		bytes += part;
		length -= part;
	}
	return TRUE;
}
