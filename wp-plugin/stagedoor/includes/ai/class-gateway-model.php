<?php
/**
 * One model, as WordPress' AI client asks it.
 *
 * @package Stagedoor
 */

namespace Stagedoor\Ai;

use WordPress\AiClient\Providers\Http\DTO\Request;
use WordPress\AiClient\Providers\Http\Enums\HttpMethodEnum;
use WordPress\AiClient\Providers\OpenAiCompatibleImplementation\AbstractOpenAiCompatibleTextGenerationModel;

/**
 * Text, by the gateway's chat completions.
 */
final class Gateway_Model extends AbstractOpenAiCompatibleTextGenerationModel {

	/**
	 * A request to the gateway.
	 *
	 * @param HttpMethodEnum                     $method  The method.
	 * @param string                             $path    Below the API's start.
	 * @param array<string, string|list<string>> $headers The headers.
	 * @param string|array<string, mixed>|null   $data    The body.
	 * @return Request
	 */
	protected function createRequest( HttpMethodEnum $method, string $path, array $headers = array(), $data = null ): Request {
		return new Request( $method, Gateway_Provider::url( $path ), $headers, $data, $this->getRequestOptions() );
	}
}
