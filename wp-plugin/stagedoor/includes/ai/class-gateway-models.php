<?php
/**
 * The models that this site's key may use, as WordPress' AI client lists them.
 *
 * @package Stagedoor
 */

namespace Stagedoor\Ai;

use Stagedoor\Settings;
use WordPress\AiClient\Messages\Enums\ModalityEnum;
use WordPress\AiClient\Providers\Http\DTO\Request;
use WordPress\AiClient\Providers\Http\DTO\Response;
use WordPress\AiClient\Providers\Http\Enums\HttpMethodEnum;
use WordPress\AiClient\Providers\Http\Exception\ResponseException;
use WordPress\AiClient\Providers\Models\DTO\ModelMetadata;
use WordPress\AiClient\Providers\Models\DTO\SupportedOption;
use WordPress\AiClient\Providers\Models\Enums\CapabilityEnum;
use WordPress\AiClient\Providers\Models\Enums\OptionEnum;
use WordPress\AiClient\Providers\OpenAiCompatibleImplementation\AbstractOpenAiCompatibleModelMetadataDirectory;

/**
 * The list.
 */
final class Gateway_Models extends AbstractOpenAiCompatibleModelMetadataDirectory {

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
		return new Request( $method, Gateway_Provider::url( $path ), $headers, $data );
	}

	/**
	 * The models of an answer; the site's own first, which core then prefers.
	 *
	 * @param Response $response The answer of /v1/models.
	 * @return list<ModelMetadata>
	 */
	protected function parseResponseToModelMetadataList( Response $response ): array {
		$data = $response->getData();
		if ( ! is_array( $data ) || ! isset( $data['data'] ) || ! is_array( $data['data'] ) ) {
			throw ResponseException::fromMissingData( 'Stagedoor', 'data' ); // phpcs:ignore -- No output.
		}
		$ids = array();
		foreach ( $data['data'] as $model ) {
			if ( is_array( $model ) && isset( $model['id'] ) && is_string( $model['id'] ) ) {
				$ids[] = $model['id'];
			}
		}
		$first = (string) Settings::get( 'model' );
		usort(
			$ids,
			static function ( $one, $other ) use ( $first ) {
				return ( $other === $first ) <=> ( $one === $first );
			}
		);
		return array_map( array( __CLASS__, 'describe' ), $ids );
	}

	/**
	 * What a model can do. The gateway knows better, and routes to one that can what is
	 * asked for; what none can is its clear error.
	 *
	 * @param string $id The model.
	 * @return ModelMetadata
	 */
	private static function describe( $id ) {
		$text = array( ModalityEnum::text() );
		return new ModelMetadata(
			$id,
			$id,
			array( CapabilityEnum::textGeneration(), CapabilityEnum::chatHistory() ),
			array(
				new SupportedOption( OptionEnum::systemInstruction() ),
				new SupportedOption( OptionEnum::candidateCount() ),
				new SupportedOption( OptionEnum::maxTokens() ),
				new SupportedOption( OptionEnum::temperature() ),
				new SupportedOption( OptionEnum::topP() ),
				new SupportedOption( OptionEnum::stopSequences() ),
				new SupportedOption( OptionEnum::presencePenalty() ),
				new SupportedOption( OptionEnum::frequencyPenalty() ),
				new SupportedOption( OptionEnum::functionDeclarations() ),
				new SupportedOption( OptionEnum::outputMimeType(), array( 'text/plain', 'application/json' ) ),
				new SupportedOption( OptionEnum::outputSchema() ),
				new SupportedOption( OptionEnum::customOptions() ),
				new SupportedOption( OptionEnum::inputModalities(), array( $text, array( ModalityEnum::text(), ModalityEnum::image() ) ) ),
				new SupportedOption( OptionEnum::outputModalities(), array( $text ) ),
			)
		);
	}
}
